"""Tests of every depthwise implementation, against float64 NumPy loops and float64 XLA."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from tests.ops import numpy_oracles as oracle
from tests.ops.built_kernels import with_kernels
from tests.ops.convolution_checks import few, values_and_gradients
from xception_jax.errors import InputError
from xception_jax.ops import DEPTHWISE_IMPLEMENTATIONS, depthwise_conv2d

pytestmark = pytest.mark.usefixtures("kernels")
implementations = pytest.mark.parametrize("implementation", with_kernels(DEPTHWISE_IMPLEMENTATIONS))


def bound(magnitude: np.ndarray, terms: int, dtype: str) -> np.ndarray:
    """Returns the textbook bound on the error of a sum of `terms` rounded products.

    Args:
        magnitude: the same sum over absolute values.
        terms: number of products.
        dtype: dtype of the sum.
    """
    return (terms + 2) * float(jnp.finfo(dtype).eps) * magnitude + 1e-30


def assert_within(ours: jax.Array, exact: np.ndarray, allowed: np.ndarray, name: str) -> None:
    error = np.abs(np.asarray(ours, np.float64) - exact)
    assert np.all(error <= allowed), f"{name}: {np.max(error / allowed):.3g} times the bound"


@implementations
@settings(few, max_examples=15)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.integers(1, 5),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.sampled_from([1, 2]),
    padding=st.sampled_from(["SAME", "VALID"]),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_values_and_gradients_are_those_of_loops(
    *, implementation, batch, height, width, channels, window, strides, padding, dtype, seed
):
    assume(padding == "SAME" or (height >= window[0] and width >= window[1]))
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(batch, height, width, channels)), dtype)
    kernel = jnp.asarray(rng.normal(size=(*window, 1, channels)), dtype)
    exact_x, exact_kernel = (np.asarray(a, np.float64) for a in (x, kernel))
    exact = oracle.depthwise(exact_x, exact_kernel, strides, padding)
    gradient = jnp.asarray(rng.normal(size=exact.shape), dtype)
    convolve = partial(
        depthwise_conv2d, strides=strides, padding=padding, implementation=implementation
    )
    ours = values_and_gradients(convolve, x, kernel, gradient)
    exact_gradient = np.asarray(gradient, np.float64)
    arguments = exact_x, exact_kernel, exact_gradient, strides, padding
    absolute = (*map(np.abs, arguments[:3]), strides, padding)
    taps, pixels = window[0] * window[1], exact_gradient[..., 0].size

    assert [a.dtype for a in ours] == [dtype] * 3
    allowed = bound(oracle.depthwise(*absolute[:2], *absolute[3:]), taps, dtype)
    assert_within(ours[0], exact, allowed, "out")
    for name, mine, right, magnitude, terms in zip(
        ("x", "kernel"),
        ours[1:],
        oracle.depthwise_gradients(*arguments),
        oracle.depthwise_gradients(*absolute),
        (taps, pixels),
        strict=True,
    ):
        assert_within(mine, right, bound(magnitude, terms, dtype), f"gradient of {name}")


@implementations
# Taller than what is unrolled, so that rows are taken several at a time, and 53 does not divide.
@pytest.mark.parametrize(
    ("shape", "strides"), [((2, 80, 5, 3), 1), ((1, 53, 4, 8), 1), ((1, 9, 6, 2), 2)]
)
def test_float64_agrees_with_xla_to_float64(implementation, shape, strides, rng):
    with jax.enable_x64(True):
        x, kernel = (
            jnp.asarray(rng.normal(size=shape)),
            jnp.asarray(rng.normal(size=(3, 3, 1, shape[-1]))),
        )
        out = -(-shape[1] // strides), -(-shape[2] // strides)
        weights = jnp.asarray(rng.normal(size=(shape[0], *out, shape[-1])))
        convolve = partial(depthwise_conv2d, strides=strides, implementation=implementation)

        def ours(x, kernel):
            return jnp.sum(weights * convolve(x, kernel))

        def xla(x, kernel):
            numbers = ("NHWC", "HWIO", "NHWC")
            out = lax.conv_general_dilated(
                x,
                kernel,
                (strides, strides),
                "SAME",
                dimension_numbers=numbers,
                feature_group_count=shape[-1],
            )
            return jnp.sum(weights * out)

        for mine, right in zip(
            jax.jit(jax.grad(ours, argnums=(0, 1)))(x, kernel),
            jax.jit(jax.grad(xla, argnums=(0, 1)))(x, kernel),
            strict=True,
        ):
            # 400 terms of size 1 at float64's 1e-16.
            np.testing.assert_allclose(mine, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("strides", [1, 2])
def test_gradient_of_gradient_agrees_with_xla(strides, rng):
    def twice(name):
        def loss(x, kernel):
            out = depthwise_conv2d(x, kernel, strides=strides, implementation=name)
            return jnp.sum(jnp.sin(out))

        def of_gradients(x, kernel):
            return sum(jnp.sum(g**3) for g in jax.grad(loss, argnums=(0, 1))(x, kernel))

        return jax.jit(jax.grad(of_gradients, argnums=(0, 1)))

    with jax.enable_x64(True):
        x, kernel = (jnp.asarray(rng.normal(size=s)) for s in ((2, 5, 4, 3), (3, 3, 1, 3)))
        for mine, right in zip(twice("shift")(x, kernel), twice("lax")(x, kernel), strict=True):
            # Sums of a few hundred terms at float64's 1e-16, relative to the largest result.
            scale = float(jnp.max(jnp.abs(right)))
            np.testing.assert_allclose(mine, right, rtol=0, atol=1e-12 * scale)


@implementations
def test_vmap_and_scan_give_what_a_loop_gives(implementation, rng):
    x = jnp.asarray(rng.normal(size=(3, 2, 6, 5, 4)), jnp.float32)
    kernels = jnp.asarray(rng.normal(size=(3, 3, 3, 1, 4)), jnp.float32)

    def gradients(x, kernel):
        def loss(x, kernel):
            return jnp.sum(depthwise_conv2d(x, kernel, implementation=implementation) ** 2)

        return jax.grad(loss, argnums=(0, 1))(x, kernel)

    one_by_one = [gradients(x[i], kernels[i]) for i in range(3)]
    mapped = jax.jit(jax.vmap(gradients))(x, kernels)
    _, scanned = jax.jit(lambda *a: lax.scan(lambda c, xs: (c, gradients(*xs)), 0, a))(x, kernels)
    for i, alone in enumerate(one_by_one):
        for together in (mapped, scanned):
            for mine, right in zip(together, alone, strict=True):
                # Sums of 60 products of size 10 or so, in another order.
                np.testing.assert_allclose(mine[i], right, rtol=1e-5, atol=1e-3)


def test_forward_mode_through_the_fast_path_is_a_clear_error():
    x, kernel = jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: depthwise_conv2d(x, kernel, implementation="shift"), (x,), (x,))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": jnp.ones((4, 4, 3))}, ValueError, r"x must be \[batch, .*\(4, 4, 3\)"),
        ({"kernel": jnp.ones((3, 3, 3))}, ValueError, r"kernel must be .*\(3, 3, 3\)"),
        ({"kernel": jnp.ones((3, 3, 1, 2))}, ValueError, r"kernel must be .*\(3, 3, 1, 2\)"),
        ({"kernel": jnp.ones((3, 3, 1, 3), "bfloat16")}, ValueError, "float32 and bfloat16"),
        ({"x": jnp.ones((1, 4, 4, 3), jnp.uint8)}, ValueError, "x must hold .*uint8"),
        ({"strides": 0}, ValueError, "strides must be an integer from 1; got 0"),
        ({"strides": (2, 2)}, ValueError, r"strides must be .*\(2, 2\)"),
        ({"strides": 1.5}, ValueError, "strides must be .*1.5"),
        ({"kernel": jnp.ones((0, 3, 1, 3))}, ValueError, "window .* 0 x 3"),
        ({"kernel": jnp.ones((5, 5, 1, 3)), "padding": "VALID"}, ValueError, "4 x 4 .* 5 x 5"),
        ({"padding": "SMAE"}, InputError, "padding='SMAE'.*'SAME'"),
        ({"padding": "same"}, ValueError, "padding='same'.*nearest valid value: 'SAME'"),
        ({"implementation": "shft"}, InputError, "implementation='shft'.*'shift'"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_wrong_arguments_are_named(change, error, message):
    arguments = {"x": jnp.ones((1, 4, 4, 3)), "kernel": jnp.ones((3, 3, 1, 3))} | change
    with pytest.raises(error, match=message):
        depthwise_conv2d(arguments.pop("x"), arguments.pop("kernel"), **arguments)
