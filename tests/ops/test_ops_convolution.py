"""Regular, grouped and pointwise convolutions and batch statistics, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_oracles as oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xception_jax.ops import batch_statistics, conv2d, pointwise_conv2d

few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**32 - 1)


@few
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    features=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    strides=st.sampled_from([1, 2, 3]),
    seed=seeds,
)
def test_pointwise_is_a_matrix_product_at_every_stride(size, features, strides, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, *size, features[0])).astype(np.float32)
    kernel = rng.normal(size=(1, 1, *features)).astype(np.float32)
    out, pull = jax.vjp(lambda x, k: pointwise_conv2d(x, k, strides=strides), x, kernel)
    exact = oracle.convolution(x, kernel, strides, "SAME", groups=1)
    gradient = rng.normal(size=exact.shape).astype(np.float32)
    for_x, for_kernel = pull(gradient)
    right_x = np.zeros(x.shape)
    right_x[:, ::strides, ::strides] = gradient.astype(np.float64) @ kernel[0, 0].T
    right_kernel = np.einsum(
        "bhwi,bhwo->io", x[:, ::strides, ::strides].astype(np.float64), gradient
    )
    # At most 98 products of size 1 at float32's 6e-8.
    for mine, right in ((out, exact), (for_x, right_x), (for_kernel[0, 0], right_kernel)):
        np.testing.assert_allclose(mine, right, rtol=0, atol=5e-5)


@few
@given(
    size=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    groups=st.sampled_from([1, 2, 3]),
    per_group=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.sampled_from([1, 2]),
    padding=st.sampled_from(["SAME", "VALID"]),
    seed=seeds,
)
def test_grouped_convolution_is_that_of_loops(*, size, groups, per_group, strides, padding, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, *size, groups * per_group[0])).astype(np.float32)
    kernel = rng.normal(size=(3, 3, per_group[0], groups * per_group[1])).astype(np.float32)
    out = conv2d(x, kernel, strides=strides, padding=padding, groups=groups)
    exact = oracle.convolution(x, kernel, strides, padding, groups)
    np.testing.assert_allclose(out, exact, rtol=0, atol=3e-5)  # 27 products of size 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (7, 3), (4, 5, 6, 3)])
def test_batch_statistics_are_the_biased_ones_in_float32(shape, dtype, rng):
    x = jnp.asarray(rng.normal(3, 2, size=shape), dtype)
    mean, variance = batch_statistics(x)
    exact = np.asarray(x, np.float64).reshape(-1, shape[-1])
    assert (mean.dtype, variance.dtype) == ("float32", "float32")
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
