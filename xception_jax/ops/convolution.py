"""Regular, grouped and pointwise convolutions."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from xception_jax.ops.shapes import (
    Images,
    Padding,
    explicit_padding,
    require_array,
    require_images,
    require_positive,
    spatial_size,
)


def conv2d(
    x: Images,
    kernel: Float[Array, "kernel_height kernel_width in_per_group out"],
    *,
    strides: int = 1,
    padding: Padding = "SAME",
    groups: int = 1,
) -> Float[Array, "batch new_height new_width out"]:
    """Convolution over `groups` independent groups of channels.

    Args:
        x: [batch, height, width, in].
        kernel: [kernel_height, kernel_width, in / groups, out], of `x`'s type.
        strides: of both spatial dimensions.
        padding: "SAME" or "VALID".
        groups: divides both numbers of channels.

    Raises:
        InputError: a padding that does not exist.
        ValueError: shapes, types or groups that do not fit together.
    """
    x = require_images("x", x)
    kernel = require_array("kernel", kernel, "height width in_per_group out")
    require_positive("groups", groups)
    if kernel.shape[2] * groups != x.shape[-1] or kernel.shape[3] % groups:
        raise ValueError(
            f"kernel {kernel.shape} does not fit {groups} groups of the channels of x {x.shape}"
        )
    _require_one_type(x, kernel)
    window = kernel.shape[0], kernel.shape[1]
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(strides, strides),
        padding=explicit_padding(spatial_size(x), window, strides, padding),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def pointwise_conv2d(
    x: Images, kernel: Float[Array, "1 1 in out"], *, strides: int = 1
) -> Float[Array, "batch new_height new_width out"]:
    """1x1 convolution, as the one matrix product that it is.

    On [batch * height * width, in] XLA:CPU calls its matrix kernel directly; as a convolution, or
    as a product with four dimensions, it was up to twice as slow in the backward pass.

    Args:
        x: [batch, height, width, in].
        kernel: [1, 1, in, out], of `x`'s type.
        strides: of both spatial dimensions.

    Raises:
        ValueError: shapes or types that do not fit together.
    """
    x = require_images("x", x)
    kernel = require_array("kernel", kernel, "1 1 in out")
    if kernel.shape[:3] != (1, 1, x.shape[-1]):
        raise ValueError(f"kernel must be [1, 1, {x.shape[-1]}, out]; got shape {kernel.shape}")
    _require_one_type(x, kernel)
    require_positive("strides", strides)
    if strides != 1:
        x = x[:, ::strides, ::strides]
    rows = jnp.reshape(x, (-1, x.shape[-1])) @ kernel[0, 0]
    return jnp.reshape(rows, (*x.shape[:-1], kernel.shape[-1]))


def _require_one_type(x: Array, kernel: Array) -> None:
    if x.dtype != kernel.dtype:
        raise ValueError(f"x and kernel must have one type; got {x.dtype} and {kernel.dtype}")
