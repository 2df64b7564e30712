"""Tests of all convolutions but depthwise, and of batch statistics, against float64 NumPy."""

from dataclasses import replace
from functools import partial
from math import gcd
from typing import Any, cast
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops import numpy_oracles as oracle
from tests.ops.convolution_checks import (
    check_against_loops,
    convolutions,
    few,
    seeds,
    values_and_gradients,
)
from xception_jax.ops import (
    CONVOLUTION_IMPLEMENTATIONS,
    POINTWISE_IMPLEMENTATIONS,
    batch_statistics,
    conv2d,
    pointwise_conv2d,
    tiles,
)
from xception_jax.ops.merged_groups import block_diagonal, groups_to_merge
from xception_jax.ops.shapes import explicit_padding
from xception_jax.ops.tiles import MAX_KEPT, Tiling, fastest_columns, tiled_conv2d
from xception_jax.ops.unpacked import lax_conv2d


@few
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    features=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    strides=st.sampled_from([1, 2, 3]),
    implementation=st.sampled_from(POINTWISE_IMPLEMENTATIONS),
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


@settings(few, max_examples=40)
@given(
    **convolutions,
    dtype=st.sampled_from(["float32", "bfloat16"]),
    implementation=st.sampled_from(list(CONVOLUTION_IMPLEMENTATIONS)),
)
def test_convolution_is_that_of_loops(*, implementation, dtype, **case):
    convolve = partial(
        conv2d,
        strides=case["strides"],
        padding=case["padding"],
        groups=case["groups"],
        implementation=implementation,
    )
    check_against_loops(convolve, **case, dtype=dtype)


@settings(few, max_examples=20)
@given(**convolutions, columns=st.integers(1, 13), kept=st.booleans())
def test_tiles_of_any_width_give_the_same(*, columns, kept, **case):
    """Also of tiles that do not come out even, whether or not patches are kept."""

    def convolve(x, kernel):
        pads = explicit_padding(case["size"], case["window"], case["strides"], case["padding"])
        tiling = Tiling(case["size"], case["window"], case["strides"], pads, case["groups"])
        width = min(columns, tiling.out_size[1])
        return tiled_conv2d(x, kernel, replace(tiling, columns=width))

    with mock.patch.object(tiles, "MAX_KEPT", MAX_KEPT if kept else 0):
        check_against_loops(convolve, **case)


@settings(few, max_examples=20)
@given(**convolutions | {"groups": st.sampled_from([2, 4, 6])}, merged=st.integers(1, 12))
def test_merged_groups_give_the_same(*, merged, **case):
    """For every number of groups that may be merged, not only the one that is chosen."""
    groups = case["groups"]
    merged = gcd(merged, groups)

    def convolve(x, kernel):
        pads = explicit_padding(case["size"], case["window"], case["strides"], case["padding"])
        larger = block_diagonal(kernel, groups, merged)
        return lax_conv2d(x, larger, case["strides"], pads, groups // merged)

    check_against_loops(convolve, **case)


def test_groups_are_merged_up_to_a_tpus_width():
    chosen = [groups_to_merge(*case) for case in ((8, 16), (8, 12), (8, 40), (8, 129), (9, 40))]
    assert chosen == [8, 8, 2, 1, 3]


@pytest.mark.parametrize("batched", ["kernels", "images", "both"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("implementation", [*CONVOLUTION_IMPLEMENTATIONS, "auto"])
def test_a_pack_of_convolutions_is_each_of_them(implementation, groups, batched, rng):
    """Under vmap over kernels (a pack), over images, and over both: values and gradients."""
    x, kernel = rng.normal(size=(3, 2, 6, 5, 4)), rng.normal(size=(3, 3, 3, 4 // groups, 6))
    axes = {"kernels": (None, 0), "images": (0, None), "both": (0, 0)}[batched]
    x, kernel = (a if axis == 0 else a[0] for a, axis in zip((x, kernel), axes, strict=True))

    def run(x, kernel, implementation):
        def convolve(x, kernel):
            return conv2d(x, kernel, strides=2, groups=groups, implementation=implementation)

        out, pull = jax.vjp(convolve, x, kernel)
        return out, *pull(jnp.sin(out))

    # In float64: rounding of the large outputs changes their sines, in float32 by up to 2e-5.
    with jax.enable_x64(True):
        pack = partial(run, implementation=implementation)
        packed = jax.jit(jax.vmap(pack, in_axes=axes))(x, kernel)
        for member in range(3):
            image, taps = (
                a if n is None else a[member] for a, n in zip((x, kernel), axes, strict=True)
            )
            for mine, right in zip(packed, run(image, taps, "lax"), strict=True):
                assert mine.dtype == np.float64
                np.testing.assert_allclose(mine[member], right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("implementation", [*CONVOLUTION_IMPLEMENTATIONS, "auto"])
def test_an_empty_batch_has_an_empty_output_and_a_gradient_of_zeros(implementation):
    x, kernel = jnp.ones((0, 5, 5, 4)), jnp.ones((3, 3, 2, 6))
    convolve = partial(conv2d, groups=2, implementation=implementation)
    out, for_x, for_kernel = values_and_gradients(convolve, x, kernel, jnp.ones((0, 5, 5, 6)))
    assert (out.shape, for_x.shape) == ((0, 5, 5, 6), x.shape)
    np.testing.assert_array_equal(for_kernel, np.zeros(kernel.shape))


def test_a_regular_convolution_alone_has_the_bits_of_xlas_and_none_in_a_pack(rng):
    x = jnp.asarray(rng.normal(size=(2, 2, 6, 5, 40)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(2, 3, 3, 40, 6)), jnp.float32)
    gradient = jnp.ones((2, 6, 5, 6))

    def run(x, kernel, implementation):
        return values_and_gradients(
            partial(conv2d, implementation=implementation), x, kernel, gradient
        )

    for mine, right in zip(run(x[0], kernel[0], "auto"), run(x[0], kernel[0], "lax"), strict=True):
        np.testing.assert_array_equal(mine, right)
    packed = jax.vmap(partial(run, implementation="auto"))
    assert "conv_general_dilated" not in str(jax.make_jaxpr(packed)(x, kernel))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("implementation", ["matmul", "tiles", "unpacked"])
def test_gradient_of_gradient_of_products_agrees_with_xla(implementation, groups, rng):
    with jax.enable_x64(True):
        x, kernel = (
            jnp.asarray(rng.normal(size=s), "float64")
            for s in ((2, 5, 4, 3), (3, 3, 3 // groups, 6))
        )

        def twice(implementation):
            def loss(x, kernel):
                out = conv2d(x, kernel, groups=groups, implementation=implementation)
                return jnp.sum(out**2)

            def of_gradients(x, kernel):
                return sum(jnp.sum(g**3) for g in jax.grad(loss, argnums=(0, 1))(x, kernel))

            return jax.jit(jax.grad(of_gradients, argnums=(0, 1)))(x, kernel)

        for mine, right in zip(twice(implementation), twice("lax"), strict=True):
            assert np.linalg.norm(mine - right) <= 1e-12 * np.linalg.norm(right)


@pytest.mark.parametrize("groups", [1, 4])
def test_large_tiles_keep_no_copies_of_the_images_for_the_backward_pass(groups):
    def kept(batch):
        x, kernel = jnp.ones((batch, 9, 9, 64)), jnp.ones((3, 3, 64 // groups, 64))
        convolve = partial(conv2d, groups=groups, implementation="tiles")
        arrays = jax.tree.leaves(jax.vjp(convolve, x, kernel)[1])
        return sum(array.size for array in arrays) - kernel.size, x.size

    numbers, size = kept(128)
    assert numbers <= size
    numbers, size = kept(2)
    assert 3 * size < numbers < MAX_KEPT


@pytest.mark.parametrize(
    ("size", "window", "channels", "columns"),
    [
        ((4, 4), (3, 3), (12, 12), 4),  # few channels in a group: the whole row
        ((2, 2), (3, 3), (94, 94), 2),  # most taps of one column would be padding
        ((19, 19), (3, 3), (182, 182), 1),  # the zeros in the matrix would cost most
        ((37, 37), (3, 1), (16, 16), 1),  # nothing is read twice
    ],
)
def test_the_fastest_tile_follows_from_the_shapes(size, window, channels, columns):
    pads = explicit_padding(size, window, 1, "SAME")
    assert fastest_columns(Tiling(size, window, 1, pads, 8), *channels) == columns


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


@pytest.mark.usefixtures("unchecked_types")
def test_integers_of_numpy_are_integers(rng):
    x, kernel = (
        jnp.asarray(rng.normal(size=(1, 5, 5, 4))),
        jnp.asarray(rng.normal(size=(3, 3, 2, 6))),
    )
    two: Any = np.int32(2)
    for implementation in CONVOLUTION_IMPLEMENTATIONS:
        run = partial(conv2d, x, kernel, implementation=implementation)
        np.testing.assert_array_equal(run(strides=two, groups=two), run(strides=2, groups=2))


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
        (lambda: conv2d(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 0, 1, 1))), "window .* 3 x 0"),
        (
            lambda: conv2d(
                jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), strides=cast(Any, [1, 1])
            ),
            "strides",
        ),
        (
            lambda: conv2d(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), implementation="tile"),
            "implementation='tile'.*'tiles'",
        ),
        (lambda: batch_statistics(jnp.ones((0, 2, 2, 3))), r"\(0, 2, 2, 3\)"),
        (lambda: batch_statistics(jnp.ones(3)), r"\(3,\)"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
