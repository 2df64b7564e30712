"""Tests of every max-pooling implementation, against loops in float64 NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from tests.ops import numpy_oracles as oracle
from tests.ops.convolution_checks import few
from xception_jax.errors import InputError
from xception_jax.ops import POOLING_IMPLEMENTATIONS, max_pool

implementations = pytest.mark.parametrize("implementation", sorted(POOLING_IMPLEMENTATIONS))


def pooled_and_gradient(x, gradient, **settings):
    out, pull = jax.vjp(lambda x: max_pool(x, **settings), x)
    return out, pull(gradient)[0]


@implementations
@settings(few, max_examples=15)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
    window=st.integers(1, 4),
    strides=st.sampled_from([1, 2, 3]),
    padding=st.sampled_from(["SAME", "VALID"]),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    ties=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_values_and_gradient_are_those_of_loops(
    *, implementation, shape, window, strides, padding, dtype, ties, seed
):
    assume(padding == "SAME" or min(shape[1:3]) >= window)
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 3, shape) if ties else rng.normal(size=shape)
    x = jnp.asarray(numbers, dtype)
    exact, winner = oracle.max_pool(np.asarray(x), window, strides, padding)
    # Whole numbers, whose sums are exact in bfloat16 as well: the gradient must be exact.
    gradient = jnp.asarray(rng.integers(-4, 5, exact.shape), dtype)
    out, ours = jax.jit(
        lambda x, g: pooled_and_gradient(
            x, g, window=window, strides=strides, padding=padding, implementation=implementation
        )
    )(x, gradient)
    assert (out.dtype, ours.dtype) == (dtype, dtype)
    np.testing.assert_array_equal(np.asarray(out, np.float64), exact)
    right = oracle.max_pool_gradient(np.asarray(x), winner, np.asarray(gradient, np.float64))
    np.testing.assert_array_equal(np.asarray(ours, np.float64), right)


@implementations
def test_a_nan_is_the_maximum(implementation, rng):
    x = rng.normal(size=(2, 7, 8, 3)).astype(np.float32)
    x[0, 3, 3, 1] = x[1, 6, 0, 2] = x[0, 2, 3, 1] = np.nan
    exact, _ = oracle.max_pool(x, 3, 2, "SAME")
    np.testing.assert_array_equal(max_pool(x, implementation=implementation), exact)


@implementations
def test_windows_of_more_taps_than_a_byte_counts(implementation, rng):
    x = jnp.asarray(rng.normal(size=(1, 14, 13, 2)), jnp.float32)
    exact, winner = oracle.max_pool(np.asarray(x), 12, 1, "VALID")
    gradient = jnp.asarray(rng.integers(-4, 5, exact.shape), jnp.float32)
    pool = partial(
        pooled_and_gradient, window=12, strides=1, padding="VALID", implementation=implementation
    )
    out, ours = jax.jit(pool)(x, gradient)
    np.testing.assert_array_equal(out, exact.astype(np.float32))
    right = oracle.max_pool_gradient(np.asarray(x), winner, np.asarray(gradient))
    np.testing.assert_array_equal(ours, right)


def test_even_sizes_are_padded_at_the_bottom_right():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    # Padded by one on every side, as in PyTorch, it would be [[0, -1], [-4, -5]].
    np.testing.assert_array_equal(max_pool(-x)[0, :, :, 0], [[0, -2], [-8, -10]])


@implementations
def test_gradient_of_gradient_vmap_and_scan(implementation, rng):
    x = jnp.asarray(rng.normal(size=(3, 2, 6, 5, 2)), jnp.float32)

    def loss(x):
        return jnp.sum(jnp.sin(max_pool(x, implementation=implementation)))

    def twice(x):
        return jax.grad(lambda x: jnp.sum(jax.grad(loss)(x) ** 3))(x)

    def exact(x):
        """Computes d/dx of the sum over pixels of (sum of cos over the outputs won)^3."""
        values, winner = oracle.max_pool(x, 3, 2, "SAME")
        won = oracle.max_pool_gradient(x, winner, np.cos(values))
        slope = oracle.max_pool_gradient(x, winner, np.sin(values))
        return -3 * won**2 * slope

    mapped = jax.jit(jax.vmap(twice))(x)
    _, scanned = jax.jit(lambda x: lax.scan(lambda c, x: (c, twice(x)), 0, x))(x)
    right = np.stack([exact(np.asarray(part)) for part in x])
    # A handful of float32 roundings on numbers of size 100 at most.
    np.testing.assert_allclose(mapped, right, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scanned, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": jnp.ones((4, 4, 3))}, ValueError, r"x must be \[batch, .*\(4, 4, 3\)"),
        ({"window": 5, "padding": "VALID"}, ValueError, "4 x 4 .* 5 x 5"),
        ({"window": 0}, ValueError, "window"),
        ({"strides": 0}, ValueError, "strides"),
        ({"padding": "FULL"}, InputError, "padding='FULL'"),
        ({"implementation": "argmix"}, InputError, "implementation='argmix'.*'argmax'"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_wrong_arguments_are_named(change, error, message):
    arguments = {"x": jnp.ones((1, 4, 4, 3))} | change
    with pytest.raises(error, match=message):
        max_pool(arguments.pop("x"), **arguments)
