"""Tests of all convolutions but depthwise, and of batch statistics, against float64 NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.ops import numpy_oracles as oracle
from xception_jax.ops import CONVOLUTION_IMPLEMENTATIONS, batch_statistics, conv2d, pointwise_conv2d

few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**32 - 1)


def values_and_gradients(convolve, x, kernel, gradient):
    def run(x, kernel, gradient):
        out, pull = jax.vjp(convolve, x, kernel)
        return out, *pull(gradient)

    return jax.jit(run)(x, kernel, gradient)


@few
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    features=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    strides=st.sampled_from([1, 2, 3]),
    implementation=st.sampled_from(CONVOLUTION_IMPLEMENTATIONS),
    seed=seeds,
)
def test_pointwise_is_a_matrix_product_at_every_stride(
    *, size, features, strides, implementation, seed
):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, *size, features[0])).astype(np.float32)
    kernel = rng.normal(size=(1, 1, *features)).astype(np.float32)
    exact = oracle.convolution(x, kernel, strides, "SAME", groups=1)
    gradient = rng.normal(size=exact.shape).astype(np.float32)
    right = oracle.convolution_gradients(x, kernel, gradient, strides, "SAME")
    ours = values_and_gradients(
        partial(pointwise_conv2d, strides=strides, implementation=implementation),
        x,
        kernel,
        gradient,
    )
    for mine, wanted in zip(ours, (exact, *right), strict=True):
        # At most 98 products of size 1 at float32's 6e-8.
        np.testing.assert_allclose(mine, wanted, rtol=0, atol=5e-5)


@few
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    window=st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3])),
    groups=st.sampled_from([1, 1, 2, 3]),
    per_group=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.sampled_from([1, 2]),
    padding=st.sampled_from(["SAME", "VALID"]),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    implementation=st.sampled_from(CONVOLUTION_IMPLEMENTATIONS),
    seed=seeds,
)
def test_convolution_is_that_of_loops(
    *, size, window, groups, per_group, strides, padding, dtype, implementation, seed
):
    assume(padding == "SAME" or (size[0] >= window[0] and size[1] >= window[1]))
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(2, *size, groups * per_group[0])), dtype)
    kernel = jnp.asarray(rng.normal(size=(*window, per_group[0], groups * per_group[1])), dtype)
    exact_x, exact_kernel = (np.asarray(a, np.float64) for a in (x, kernel))
    exact = oracle.convolution(exact_x, exact_kernel, strides, padding, groups)
    gradient = jnp.asarray(rng.normal(size=exact.shape), dtype)
    right = oracle.convolution_gradients(
        exact_x, exact_kernel, np.asarray(gradient, np.float64), strides, padding, groups=groups
    )
    convolve = partial(
        conv2d, strides=strides, padding=padding, groups=groups, implementation=implementation
    )
    ours = values_and_gradients(convolve, x, kernel, gradient)
    # At most 98 products of size 1, each rounded, in a sum of size 10 that may be rounded as often.
    allowed = 5e-5 if dtype == "float32" else 0.5
    for mine, wanted in zip(ours, (exact, *right), strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(np.asarray(mine, np.float64), wanted, rtol=0, atol=allowed)


def test_gradient_of_gradient_of_products_agrees_with_xla(rng):
    with jax.enable_x64(True):
        x, kernel = (
            jnp.asarray(rng.normal(size=s), "float64") for s in ((2, 5, 4, 3), (3, 3, 3, 2))
        )

        def twice(implementation):
            def loss(x, kernel):
                out = conv2d(x, kernel, implementation=implementation)
                return jnp.sum(out**2)

            def of_gradients(x, kernel):
                return sum(jnp.sum(g**3) for g in jax.grad(loss, argnums=(0, 1))(x, kernel))

            return jax.jit(jax.grad(of_gradients, argnums=(0, 1)))(x, kernel)

        for mine, right in zip(twice("matmul"), twice("lax"), strict=True):
            assert np.linalg.norm(mine - right) <= 1e-12 * np.linalg.norm(right)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (7, 3), (4, 5, 6, 3)])
def test_batch_statistics_are_the_biased_ones_in_float32(shape, dtype, rng):
    x = jnp.asarray(rng.normal(3, 2, size=shape), dtype)
    mean, variance = batch_statistics(x)
    exact = np.asarray(x, np.float64).reshape(-1, shape[-1])
    assert mean.dtype == variance.dtype == np.float32
    # 120 numbers; the one-pass variance subtracts squares of size 30: a few units of 30 * 6e-8.
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, exact.var(0), rtol=1e-5, atol=2e-5)


def test_the_variance_of_equal_numbers_is_never_negative():
    _, variance = batch_statistics(jnp.full((8, 5, 5, 2), 1234.567))
    assert np.all(np.asarray(variance) >= 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pointwise_conv2d(jnp.ones((1, 2, 3)), jnp.ones((1, 1, 3, 2))), r"x .*\(1, 2, 3\)"),
        (
            lambda: pointwise_conv2d(jnp.ones((1, 2, 2, 3)), jnp.ones((1, 1, 2, 2))),
            "kernel must be",
        ),
        (
            lambda: pointwise_conv2d(jnp.ones((1, 2, 2, 3)), jnp.ones((3, 3, 3, 2))),
            "kernel must be",
        ),
        (lambda: conv2d(jnp.ones((1, 4, 4, 4)), jnp.ones((3, 3, 4, 4)), groups=2), "2 groups"),
        (lambda: conv2d(jnp.ones((1, 4, 4, 4)), jnp.ones((3, 3, 2, 3)), groups=2), "2 groups"),
        (lambda: conv2d(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)), padding="VALID"), "3 x 3"),
        (lambda: batch_statistics(jnp.ones((0, 2, 2, 3))), r"\(0, 2, 2, 3\)"),
        (lambda: batch_statistics(jnp.ones(3)), r"\(3,\)"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
