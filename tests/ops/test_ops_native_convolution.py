"""Tests of the C++ kernels of convolutions, against float64 loops and against themselves."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.built_kernels import needs_compiler
from tests.ops.convolution_checks import (
    check_against_float64,
    check_against_loops,
    convolutions,
    few,
)
from xception_jax.ops import conv2d

pytestmark = [pytest.mark.usefixtures("kernels"), needs_compiler]
native_conv2d = partial(conv2d, implementation="native")


def gradients(convolve, x, kernel):
    out, pull = jax.vjp(convolve, x, kernel)
    return out, *pull(jnp.sin(out))


# Channels that fill vectors of 16, 8 and 4 numbers and leave some over, one vector and several;
# windows of even size; rows that are long enough for blocks of neighbours.
wide = {
    "size": st.tuples(st.integers(1, 7), st.integers(1, 21)),
    "window": st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 3, 5])),
    "per_group": st.tuples(st.sampled_from([1, 5, 6, 13]), st.sampled_from([3, 7, 12, 23, 33, 48])),
}


@pytest.mark.parametrize("drawn", [convolutions, convolutions | wide], ids=["narrow", "wide"])
def test_they_are_those_of_loops(drawn):
    @settings(few, max_examples=40)
    # Of four images and more, or eight, outputs of several images are computed together.
    @given(
        **drawn,
        dtype=st.sampled_from(["float32", "float32", "bfloat16"]),
        batch=st.sampled_from([2, 5, 9]),
    )
    def check(*, dtype, **case):
        convolve = partial(
            native_conv2d,
            strides=case["strides"],
            padding=case["padding"],
            groups=case["groups"],
        )
        check_against_loops(convolve, **case, dtype=dtype)

    check()


@pytest.mark.parametrize("strides", [1, 2])
def test_many_images_are_those_of_float64(strides, rng):
    """Enough of them for parts whose sums are added, and for blocks of images."""
    x, kernel = rng.normal(size=(20, 40, 30, 8)), rng.normal(size=(3, 3, 8, 24))

    def run(implementation, dtype):
        convolve = partial(conv2d, strides=strides, implementation=implementation)
        values = jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)
        return jax.jit(partial(gradients, convolve))(*values)

    # Up to 24,000 products of float32, each sum rounded by 6e-8 of what it has come to.
    check_against_float64(run, 1e-5)


@pytest.mark.parametrize("batched", ["kernels", "images", "both"])
@pytest.mark.parametrize(
    ("shape", "features", "groups", "strides"),
    [
        ((3, 11, 5, 6, 46), 34, 2, 1),
        ((3, 9, 14, 13, 12), 20, 1, 2),
        ((3, 20, 40, 30, 8), 24, 1, 1),  # large enough for parts of the images, on threads
    ],
)
def test_under_vmap_they_give_the_bits_of_separate_calls(
    *, shape, features, groups, strides, batched, rng
):
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 3, shape[-1] // groups, features)), jnp.float32)
    axes = {"kernels": (None, 0), "images": (0, None), "both": (0, 0)}[batched]
    x, kernel = (a if axis == 0 else a[0] for a, axis in zip((x, kernel), axes, strict=True))
    run = partial(gradients, partial(native_conv2d, groups=groups, strides=strides))
    together = jax.vmap(run, in_axes=axes)(x, kernel)
    for i in range(3):
        alone = run(*(a if n is None else a[i] for a, n in zip((x, kernel), axes, strict=True)))
        for mine, right in zip(together, alone, strict=True):
            np.testing.assert_array_equal(mine[i], right)


@pytest.mark.parametrize("groups", [1, 2])
def test_an_image_has_the_same_bits_in_every_batch(groups, rng):
    """The last of eleven images has the bits that it has alone, wherever others are beside it."""
    x = jnp.asarray(rng.normal(size=(11, 6, 19, 12)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 12 // groups, 34)), jnp.float32)
    run = partial(native_conv2d, kernel=kernel, groups=groups)
    np.testing.assert_array_equal(run(x)[-1:], run(x[-1:]))


def test_a_gradient_that_is_not_used_is_not_computed(rng):
    x, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 5, 5, 4), (3, 3, 2, 6)))

    def loss(kernel):
        return jnp.sum(jnp.sin(native_conv2d(x, kernel, groups=2)))

    program = jax.jit(jax.grad(loss)).lower(kernel).compile().as_text() or ""
    assert "xception_jax_convolution_for_kernel" in program
    assert "xception_jax_convolution_for_x" not in program


@pytest.mark.parametrize("groups", [1, 3])
def test_gradient_of_gradient_agrees_with_xla_in_float64(groups, rng):
    values = [rng.normal(size=s) for s in ((2, 5, 4, 3), (3, 3, 3 // groups, 6))]

    def twice(implementation, dtype):
        def loss(x, kernel):
            out = conv2d(x, kernel, groups=groups, implementation=implementation)
            return jnp.sum(out**2)

        def of_gradients(x, kernel):
            return sum(jnp.sum(g**3) for g in jax.grad(loss, argnums=(0, 1))(x, kernel))

        arguments = (jnp.asarray(value, dtype) for value in values)
        return jax.jit(jax.grad(of_gradients, argnums=(0, 1)))(*arguments)

    # float32's 6e-8 through two derivatives and cubes.
    check_against_float64(twice, 1e-5)
