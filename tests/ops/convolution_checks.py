"""Cases that tests of convolutions draw, and float64 loops as their oracle."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

from tests.ops import numpy_oracles as oracle

# Compiling a shape can take most of a second on a busy machine: few examples, no deadline.
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**32 - 1)


def values_and_gradients(convolve, x, kernel, gradient):
    def run(x, kernel, gradient):
        out, pull = jax.vjp(convolve, x, kernel)
        return out, *pull(gradient)

    return jax.jit(run)(x, kernel, gradient)


def check_against_float64(run, allowed):
    """Compares the arrays of `run("native", "float32")` with those of `run("lax", "float64")`.

    The error of each, by its norm, may be `allowed` times the norm of the array.
    """
    ours = run("native", "float32")
    with jax.enable_x64(True):
        right = run("lax", "float64")
    for mine, wanted in zip(ours, right, strict=True):
        error = np.asarray(mine, np.float64) - np.asarray(wanted)
        assert np.linalg.norm(error) <= allowed * np.linalg.norm(wanted)


# Kernels, strides and paddings that the models have, and images in which they do not come out even.
convolutions = {
    "size": st.tuples(st.integers(1, 13), st.integers(1, 13)),
    "window": st.tuples(st.sampled_from([1, 3, 5, 7, 11]), st.sampled_from([1, 3, 5, 7, 11])),
    "groups": st.sampled_from([1, 1, 2, 3]),
    "per_group": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "strides": st.sampled_from([1, 1, 2, 4]),
    "padding": st.sampled_from(["SAME", "VALID"]),
    "seed": seeds,
}


def check_against_loops(
    convolve, *, size, window, groups, per_group, strides, padding, seed, dtype="float32", batch=2
):
    """Compares values and both gradients of `convolve(x, kernel)` with those of float64 loops."""
    assume(padding == "SAME" or (size[0] >= window[0] and size[1] >= window[1]))
    rng = np.random.default_rng(seed)

    def numbers(*shape):
        # Sums of -1, 0 and 1 are exact in bfloat16 up to 256, ten deviations of the longest.
        drawn = rng.integers(-1, 2, shape) if dtype == "bfloat16" else rng.normal(size=shape)
        return jnp.asarray(drawn, dtype)

    x = numbers(batch, *size, groups * per_group[0])
    kernel = numbers(*window, per_group[0], groups * per_group[1])
    exact_x, exact_kernel = (np.asarray(a, np.float64) for a in (x, kernel))
    exact = oracle.convolution(exact_x, exact_kernel, strides, padding, groups)
    gradient = numbers(*exact.shape)
    right = oracle.convolution_gradients(
        exact_x, exact_kernel, np.asarray(gradient, np.float64), strides, padding, groups=groups
    )
    ours = values_and_gradients(convolve, x, kernel, gradient)
    # At most 1,521 products of size 1: sums of size 40, rounded by 6e-8 as a random walk.
    allowed = 1e-4 if dtype == "float32" else 0
    for mine, wanted in zip(ours, (exact, *right), strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(np.asarray(mine, np.float64), wanted, rtol=0, atol=allowed)
