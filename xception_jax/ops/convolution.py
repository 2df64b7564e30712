"""Regular, grouped and pointwise convolutions."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from xception_jax.ops import native
from xception_jax.ops.dispatch import choose_implementation
from xception_jax.ops.merged_groups import block_diagonal, groups_to_merge
from xception_jax.ops.native_convolution import native_conv2d
from xception_jax.ops.shapes import (
    AnyImages,
    Images,
    Padding,
    explicit_padding,
    match_variance,
    require_array,
    require_images,
    require_positive,
    require_same_dtype,
    shifted_images,
    spatial_size,
)
from xception_jax.ops.tiles import Features, Kernel, Tiling, fastest_columns, tiled_conv2d
from xception_jax.ops.unpacked import lax_conv2d, unpacked_conv2d, untiled_conv2d

POINTWISE_IMPLEMENTATIONS = ("lax", "matmul")


def _blocks(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    """Convolves over fewer, larger groups, if there are several."""
    merged = groups_to_merge(tiling.groups, kernel.shape[2])
    if merged > 1:
        kernel = block_diagonal(kernel, tiling.groups, merged)
        tiling = replace(tiling, groups=tiling.groups // merged)
    return untiled_conv2d(x, kernel, tiling)


def _matmul(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    """Computes one matrix product, with all kernel taps side by side, or one for each group.

    The backward pass of a single group keeps a copy of `x` for each tap: of few channels, making
    them again costs more.
    """
    if tiling.groups > 1:
        return tiled_conv2d(x, kernel, tiling)
    # The barrier keeps XLA from compiling and repeating the computation of `x` for every tap.
    x = lax.optimization_barrier(x)
    taps = shifted_images(x, tiling.window, tiling.strides, tiling.pads)
    patches = jnp.concatenate(list(chain.from_iterable(taps)), axis=-1)
    rows = jnp.reshape(patches, (-1, patches.shape[-1]))
    out = rows @ jnp.reshape(kernel, (-1, kernel.shape[-1]))
    return jnp.reshape(out, (*patches.shape[:3], kernel.shape[-1]))


def _tiles(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    return tiled_conv2d(x, kernel, _widened(kernel, tiling))


def _unpacked(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    convolve = unpacked_conv2d if tiling.groups == 1 else tiled_conv2d
    return convolve(x, kernel, _widened(kernel, tiling))


def _native(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    return native_conv2d(x, kernel, _widened(kernel, tiling))


def _widened(kernel: Kernel, tiling: Tiling) -> Tiling:
    """Tiles of the width that takes the least work."""
    columns = fastest_columns(tiling, kernel.shape[2], kernel.shape[3] // tiling.groups)
    return replace(tiling, columns=columns)


CONVOLUTION_IMPLEMENTATIONS: dict[str, Callable[[Images, Kernel, Tiling], Features]] = {
    "lax": untiled_conv2d,
    "blocks": _blocks,
    "matmul": _matmul,
    "tiles": _tiles,
    "unpacked": _unpacked,
}
if native.available():
    CONVOLUTION_IMPLEMENTATIONS["native"] = _native


def conv2d(
    x: AnyImages,
    kernel: Kernel,
    *,
    strides: int = 1,
    padding: Padding = "SAME",
    groups: int = 1,
    implementation: str = "auto",
) -> Features:
    """Convolves images over `groups` independent groups of channels.

    Args:
        x: [batch, height, width, in].
        kernel: [kernel_height, kernel_width, in / groups, out], with the dtype of `x`.
        strides: stride in both spatial dimensions.
        padding: "SAME" or "VALID".
        groups: number of channel groups, which must divide both numbers of channels.
        implementation: a name in `CONVOLUTION_IMPLEMENTATIONS`, or "auto": see `dispatch`.
            "matmul" computes an output pixel of a group with one row of a matrix product, "tiles"
            several neighbouring ones: see `tiles`. "unpacked" is "lax" for one group and outside of
            vmap, else "tiles". "blocks" is "lax" for fewer, larger groups: see `merged_groups`.
            "native" is the C++ kernel: see `native_convolution`.

    Raises:
        InputError: `implementation` or `padding` is unknown.
        ValueError: shapes, dtypes or groups do not match, or `strides` is no positive integer.
    """
    x = require_images("x", x)
    kernel = require_array("kernel", kernel, "height width in_per_group out")
    groups, strides = require_positive("groups", groups), require_positive("strides", strides)
    if kernel.shape[2] * groups != x.shape[-1] or kernel.shape[3] % groups:
        raise ValueError(
            f"kernel {kernel.shape} does not fit {groups} groups of the channels of x {x.shape}"
        )
    require_same_dtype(x, kernel)
    window = kernel.shape[0], kernel.shape[1]
    pads = explicit_padding(spatial_size(x), window, strides, padding)
    tiling = Tiling(spatial_size(x), window, strides, pads, groups)
    chosen = choose_implementation(
        "convolution",
        implementation,
        CONVOLUTION_IMPLEMENTATIONS,
        channels=x.shape[-1],
        groups=groups,
        width=tiling.out_size[1],
    )
    # Matrices have sizes that an empty array lacks.
    convolve = untiled_conv2d if 0 in x.shape else CONVOLUTION_IMPLEMENTATIONS[chosen]
    return convolve(x, match_variance(x, kernel), tiling)


def pointwise_conv2d(
    x: AnyImages,
    kernel: Float[Array, "1 1 in out"],
    *,
    strides: int = 1,
    implementation: str = "auto",
) -> Features:
    """Computes a 1x1 convolution as a single matrix product.

    With [batch * height * width, in] XLA:CPU calls its matrix kernel directly; as a convolution, or
    as a product of four-dimensional arrays, the backward pass was up to twice as slow.

    Args:
        x: [batch, height, width, in].
        kernel: [1, 1, in, out], with the dtype of `x`.
        strides: stride in both spatial dimensions.
        implementation: a name in `POINTWISE_IMPLEMENTATIONS`, or "auto": see `dispatch`.

    Raises:
        InputError: `implementation` is unknown.
        ValueError: shapes or dtypes do not match.
    """
    x = require_images("x", x)
    kernel = require_array("kernel", kernel, "1 1 in out")
    if kernel.shape[:3] != (1, 1, x.shape[-1]):
        raise ValueError(f"kernel must be [1, 1, {x.shape[-1]}, out]; got shape {kernel.shape}")
    require_same_dtype(x, kernel)
    strides = require_positive("strides", strides)
    chosen = choose_implementation(
        "pointwise", implementation, POINTWISE_IMPLEMENTATIONS, strides=strides
    )
    if chosen == "lax":
        return lax_conv2d(x, kernel, strides, ((0, 0), (0, 0)), groups=1)
    if strides != 1:
        x = x[:, ::strides, ::strides]
    matrix = match_variance(x, kernel)[0, 0]
    rows = jnp.reshape(x, (-1, x.shape[-1])) @ matrix
    return jnp.reshape(rows, (*x.shape[:-1], kernel.shape[-1]))
