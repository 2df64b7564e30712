"""Tests of normalization with the max-pool after it, against float64 NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ops import numpy_oracles as oracle
from tests.ops.convolution_checks import few
from tests.ops.normalization_checks import EPSILON, exact_norm
from xception_jax.errors import InputError
from xception_jax.ops import NORM_POOL_IMPLEMENTATIONS, batch_norm_max_pool

every_implementation = pytest.mark.parametrize("implementation", NORM_POOL_IMPLEMENTATIONS)


def exact_norm_pool(x, scale, bias, gradient, *, window=3, strides=2, padding="SAME"):
    """Values, statistics and gradients as of the two operations one after the other, in float64."""
    x = np.asarray(x, np.float64)
    normalized, mean, variance, *_ = exact_norm(x, scale, bias, np.zeros_like(x))
    pooled, winner = oracle.max_pool(normalized, window, strides, padding)
    pulled = oracle.max_pool_gradient(normalized, winner, np.asarray(gradient, np.float64))
    return pooled, mean, variance, *exact_norm(x, scale, bias, pulled)[3:]


def values_and_gradients(x, scale, bias, gradient, **arguments):
    def run(x, scale, bias):
        out, *statistics = batch_norm_max_pool(x, scale, bias, epsilon=EPSILON, **arguments)
        return out, statistics

    out, pull, statistics = jax.vjp(run, x, scale, bias, has_aux=True)
    return out, *statistics, *pull(gradient)


def draw(seed, shape, dtype="float32"):
    """Numbers that are distinct in float32, scales of both signs, and biases."""
    rng = np.random.default_rng(seed)
    numbers = np.linspace(-2, 2, int(np.prod(shape)))
    x = jnp.asarray(rng.permutation(numbers).reshape(shape), dtype)
    scale, bias = (jnp.asarray(rng.normal(size=shape[-1]), jnp.float32) for _ in range(2))
    return x, scale, bias, rng


@every_implementation
@few
@given(
    shape=st.tuples(st.integers(2, 3), st.integers(3, 8), st.integers(3, 8), st.integers(1, 4)),
    window=st.integers(2, 3),
    padding=st.sampled_from(["SAME", "VALID"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_values_and_gradients_are_those_of_loops(implementation, shape, window, padding, seed):
    x, scale, bias, rng = draw(seed, shape)
    pool = {"window": window, "strides": 2, "padding": padding}
    size = oracle.output_shape(np.asarray(x), (window, window), 2, padding)
    gradient = jnp.asarray(rng.normal(size=(*size, shape[-1])), jnp.float32)
    run = partial(values_and_gradients, implementation=implementation, **pool)
    ours = jax.jit(run)(x, scale, bias, gradient)
    right = exact_norm_pool(x, scale, bias, gradient, **pool)
    for name, mine, wanted in zip(
        ("out", "mean", "variance", "x", "scale", "bias"), ours, right, strict=True
    ):
        # Sums of up to 200 numbers of size 1 at float32's 6e-8; deviations are about one.
        np.testing.assert_allclose(mine, wanted, rtol=1e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_order_does_not_change_a_bit_of_the_values(dtype):
    x, scale, bias, _ = draw(1, (4, 9, 8, 6), dtype)
    first, last = (
        batch_norm_max_pool(x, scale, bias, epsilon=EPSILON, implementation=name)
        for name in NORM_POOL_IMPLEMENTATIONS
    )
    for mine, right in zip(first, last, strict=True):
        assert mine.dtype == right.dtype
        np.testing.assert_array_equal(mine, right)


@every_implementation
def test_groups_of_rows_are_normalized_each_by_itself(implementation):
    x, scale, bias, rng = draw(2, (6, 7, 6, 3))
    gradient = jnp.asarray(rng.normal(size=(6, 4, 3, 3)), jnp.float32)
    ours = values_and_gradients(
        x, scale, bias, gradient, group_size=2, implementation=implementation
    )
    groups = [exact_norm_pool(x[i : i + 2], scale, bias, gradient[i : i + 2]) for i in (0, 2, 4)]
    right = [np.stack(values) for values in zip(*groups, strict=True)]
    wanted = [right[0].reshape(gradient.shape), right[1].mean(0), right[2].mean(0)]
    wanted += [right[3].reshape(x.shape), right[4].sum(0), right[5].sum(0)]
    for mine, exact in zip(ours, wanted, strict=True):
        # Sums of up to 84 numbers of size 1 at float32's 6e-8; deviations are about one.
        np.testing.assert_allclose(mine, exact, rtol=1e-5, atol=2e-5)


def test_gradient_of_gradient_and_vmap_agree_with_one_operation_after_the_other():
    def twice(implementation, x, scale, bias):
        def loss(*arguments):
            out, _, _ = batch_norm_max_pool(
                *arguments, epsilon=EPSILON, implementation=implementation
            )
            return jnp.sum(jnp.sin(out) * jnp.arange(out.size).reshape(out.shape))

        def of_gradients(*arguments):
            return sum(jnp.sum(g**3) for g in jax.grad(loss, argnums=(0, 1, 2))(*arguments))

        return jax.grad(of_gradients, argnums=(0, 1, 2))(x, scale, bias)

    with jax.enable_x64(True):
        x, scale, bias, _ = draw(3, (2, 3, 5, 4, 2), "float64")
        scale, bias = (jnp.stack([a, -a]) for a in (scale, bias))
        ours = jax.jit(jax.vmap(partial(twice, "pool_first")))(x, scale, bias)
        right = jax.jit(jax.vmap(partial(twice, "lax")))(x, scale, bias)
        for mine, wanted in zip(ours, right, strict=True):
            # float64's 1e-16 through two derivatives and divisions by deviations near one.
            assert np.linalg.norm(mine - wanted) <= 1e-10 * np.linalg.norm(wanted)


def test_unknown_implementations_are_named():
    x, scale, bias, _ = draw(4, (2, 4, 4, 1))
    with pytest.raises(InputError, match=r"implementation='pool'.*'pool_first'"):
        batch_norm_max_pool(x, scale, bias, epsilon=EPSILON, implementation="pool")
