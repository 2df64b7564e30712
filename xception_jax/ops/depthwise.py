"""Depthwise convolution: one function, several implementations, the same result.

XLA's grouped convolution is the reference and the best choice on TPU, whose compiler moves the
fewest bytes with it. On CPU it is one to two orders of magnitude slower than one multiply-add per
kernel tap over the shifted image, so the choice is made by backend (`_AUTO`).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from xception_jax.errors import require_choice
from xception_jax.ops.shapes import (
    Images,
    Padding,
    Pads,
    Size,
    explicit_padding,
    match_variance,
    require_array,
    require_images,
    spatial_size,
)

Kernel = Float[Array, "kernel_height kernel_width 1 channels"]


def _window(kernel: Kernel) -> Size:
    return kernel.shape[0], kernel.shape[1]


def _lax(x: Images, kernel: Kernel, strides: int, pads: Pads) -> Images:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(strides, strides),
        padding=pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _taps(x: Images, window: Size, strides: int, pads: Pads) -> list[list[Images]]:
    """The image each kernel tap sees: `[row][column]`, every one of the output's size."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    size = [(n - k) // strides + 1 for n, k in zip(padded.shape[1:3], window, strict=True)]
    height, width = ((n - 1) * strides + 1 for n in size)
    return [
        [padded[:, i : i + height : strides, j : j + width : strides] for j in range(window[1])]
        for i in range(window[0])
    ]


def _shift_and_add(x: Images, kernel: Kernel, strides: int, pads: Pads) -> Images:
    taps = _taps(x, _window(kernel), strides, pads)
    terms = [tap * kernel[i, j, 0] for i, row in enumerate(taps) for j, tap in enumerate(row)]
    return sum(terms[1:], start=terms[0])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _unit_stride(x: Images, kernel: Kernel, pads: Pads) -> Images:
    return _shift_and_add(x, kernel, 1, pads)


def _unit_stride_forward(
    x: Images, kernel: Kernel, pads: Pads
) -> tuple[Images, tuple[Images, Kernel]]:
    return _unit_stride(x, kernel, pads), (x, kernel)


def _unit_stride_backward(
    pads: Pads, saved: tuple[Images, Kernel], gradient: Images
) -> tuple[Images, Kernel]:
    """Keeps `x` alone: derived automatically, each tap's shifted image would be kept as well."""
    # The barrier keeps XLA from computing what made the gradient anew for every tap.
    x, kernel, gradient = lax.optimization_barrier((*saved, gradient))
    window = _window(kernel)
    (top, bottom), (left, right) = pads
    rows_less, columns_less = window[0] - 1, window[1] - 1
    mirrored = (rows_less - top, rows_less - bottom), (columns_less - left, columns_less - right)
    x_gradient = _unit_stride(gradient, kernel[::-1, ::-1], mirrored)
    rows = [
        [_correlate(tap, gradient).astype(kernel.dtype) for tap in row]
        for row in _taps(x, window, 1, pads)
    ]
    return x_gradient, jnp.stack([jnp.stack(row) for row in rows])[:, :, None, :]


def _correlate(tap: Images, gradient: Images) -> Float[Array, " channels"]:
    """Sum of `tap * gradient` over all but channels, in float32 at least.

    Adding up the rows of the image first leaves XLA:CPU a plain elementwise loop and one short
    column sum: several times faster than one reduction over three axes. The loop over the rows is
    unrolled, so tall images, where its program would be long, take the plain reduction.
    """
    wide = jnp.promote_types(tap.dtype, jnp.float32)
    tap, gradient = tap.astype(wide), gradient.astype(wide)
    if tap.shape[1] > 64:
        return jnp.sum(tap * gradient, axis=(0, 1, 2))
    product = sum(tap[:, row] * gradient[:, row] for row in range(tap.shape[1]))
    return jnp.sum(jnp.reshape(product, (-1, tap.shape[-1])), axis=0)


_unit_stride.defvjp(_unit_stride_forward, _unit_stride_backward)


def _shift(x: Images, kernel: Kernel, strides: int, pads: Pads) -> Images:
    if strides == 1:
        return _unit_stride(x, kernel, pads)
    return _shift_and_add(x, kernel, strides, pads)


Implementation = Callable[[Images, Kernel, int, Pads], Images]
DEPTHWISE_IMPLEMENTATIONS: dict[str, Implementation] = {"lax": _lax, "shift": _shift}
_AUTO = {"cpu": "shift", "gpu": "shift", "tpu": "lax"}


def depthwise_conv2d(
    x: Images,
    kernel: Kernel,
    *,
    strides: int = 1,
    padding: Padding = "SAME",
    implementation: str = "auto",
) -> Images:
    """Convolves each channel with its own spatial kernel (depth multiplier 1).

    Args:
        x: [batch, height, width, channels].
        kernel: [kernel_height, kernel_width, 1, channels], of `x`'s type.
        strides: of both spatial dimensions.
        padding: "SAME" (as in TensorFlow) or "VALID".
        implementation: a name in `DEPTHWISE_IMPLEMENTATIONS`, or "auto": by backend.

    Returns:
        [batch, new height, new width, channels], of `x`'s type; the same for every implementation
        up to rounding.

    Raises:
        InputError: an implementation or padding that does not exist.
        ValueError: shapes or types that do not fit together, or a 'VALID' window that does not fit
            into the image.
    """
    x = require_images("x", x)
    kernel = require_array("kernel", kernel, "height width 1 channels")
    if kernel.shape[2:] != (1, x.shape[-1]):
        raise ValueError(
            f"kernel must be [height, width, 1, {x.shape[-1]}], as x is {x.shape}; "
            f"got shape {kernel.shape}"
        )
    if x.dtype != kernel.dtype:
        raise ValueError(f"x and kernel must have one type; got {x.dtype} and {kernel.dtype}")
    require_choice("implementation", implementation, ("auto", *DEPTHWISE_IMPLEMENTATIONS))
    if implementation == "auto":
        implementation = _AUTO.get(jax.default_backend(), "lax")
    pads = explicit_padding(spatial_size(x), _window(kernel), strides, padding)
    kernel = match_variance(x, kernel)
    return DEPTHWISE_IMPLEMENTATIONS[implementation](x, kernel, strides, pads)
