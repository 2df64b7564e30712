"""Depthwise convolution: one function, several implementations, the same result.

XLA's grouped convolution is the reference and the best choice on TPU, whose compiler moves the
fewest bytes with it. On CPU it is one to two orders of magnitude slower than one multiply-add per
kernel tap over the shifted image.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from xception_jax.ops import native
from xception_jax.ops.dispatch import choose_implementation
from xception_jax.ops.shapes import (
    Images,
    Outputs,
    Padding,
    Pads,
    Size,
    explicit_padding,
    match_variance,
    require_array,
    require_images,
    shifted_images,
    spatial_size,
)

Kernel = Float[Array, "kernel_height kernel_width 1 channels"]


def _window(kernel: Kernel) -> Size:
    return kernel.shape[0], kernel.shape[1]


def _lax(x: Images, kernel: Kernel, strides: int, pads: Pads) -> Outputs:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(strides, strides),
        padding=pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _shift_and_add(x: Images, kernel: Kernel, strides: int, pads: Pads) -> Outputs:
    taps = shifted_images(x, _window(kernel), strides, pads)
    terms = [tap * kernel[i, j, 0] for i, row in enumerate(taps) for j, tap in enumerate(row)]
    return sum(terms[1:], start=terms[0])


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shift(x: Images, kernel: Kernel, strides: int, pads: Pads) -> Outputs:
    return _shift_and_add(x, kernel, strides, pads)


def _shift_forward(
    x: Images, kernel: Kernel, strides: int, pads: Pads
) -> tuple[Outputs, tuple[Images, Kernel]]:
    return _shift(x, kernel, strides, pads), (x, kernel)


def _shift_backward(
    strides: int, pads: Pads, saved: tuple[Images, Kernel], gradient: Outputs
) -> tuple[Images, Kernel]:
    """Keeps `x` alone: derived automatically, each tap's shifted image would be kept as well."""
    # The barrier keeps XLA from computing what made the gradient anew for every tap.
    x, kernel, gradient = lax.optimization_barrier((*saved, gradient))
    kernel_gradient = _kernel_gradient(x, gradient, _window(kernel), strides, pads)
    return _image_gradient(x, kernel, gradient, strides, pads), kernel_gradient.astype(kernel.dtype)


def _image_gradient(
    x: Images, kernel: Kernel, gradient: Outputs, strides: int, pads: Pads
) -> Images:
    """At stride 1 a convolution as well, with the kernel mirrored."""
    if strides != 1:
        return jax.vjp(lambda x: _shift_and_add(x, kernel, strides, pads), x)[1](gradient)[0]
    (top, bottom), (left, right) = pads
    rows_less, columns_less = kernel.shape[0] - 1, kernel.shape[1] - 1
    mirrored = (rows_less - top, rows_less - bottom), (columns_less - left, columns_less - right)
    return _shift(gradient, kernel[::-1, ::-1], 1, mirrored)


def _kernel_gradient(
    x: Images, gradient: Outputs, window: Size, strides: int, pads: Pads
) -> Kernel:
    """Of each tap, the sum of (what it saw * gradient) over all but channels; float32 at least.

    XLA:CPU makes fast code of it in this form only: the image's rows are added up first, so that
    one elementwise loop without a branch computes what is left of a row of taps, and one column sum
    reduces that. The loop over the rows is unrolled: of a tall image, several go at a time.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    rows = _rows_at_a_time(gradient.shape[1])
    missing = -gradient.shape[1] % rows
    (top, bottom), columns = pads
    gradient = jnp.pad(gradient, ((0, 0), (0, missing), (0, 0), (0, 0))).astype(wide)
    starts = range(0, gradient.shape[1], rows)
    sums = []
    for taps in shifted_images(x, window, strides, ((top, bottom + missing * strides), columns)):
        products = [
            sum(tap[:, i : i + rows].astype(wide) * gradient[:, i : i + rows] for i in starts)
            for tap in taps
        ]
        flat = jnp.reshape(jnp.stack(products), (window[1], -1, x.shape[-1]))
        sums.append(jnp.sum(flat, axis=1))
    return jnp.stack(sums)[:, :, None, :]


def _rows_at_a_time(height: int, most_terms: int = 24) -> int:
    """As few as leave `most_terms` terms, but rather a divisor of the height."""
    least = -(-height // most_terms)
    return next((rows for rows in range(least, 2 * least) if height % rows == 0), least)


_shift.defvjp(_shift_forward, _shift_backward)


def _native(x: Images, kernel: Kernel, strides: int, pads: Pads) -> Outputs:
    """In float32, whatever narrower type the arrays have; for 3x3 windows at stride 1."""
    known = strides == 1 and _window(kernel) == (3, 3) and 0 not in x.shape
    if not known or not native.computes(x, kernel):
        return _shift(x, kernel, strides, pads)
    return _kernels(x.astype("float32"), kernel.astype("float32"), pads).astype(x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _kernels(x: Images, kernel: Kernel, pads: Pads) -> Outputs:
    (top, bottom), (left, right) = pads
    batch, height, width, channels = x.shape
    size = height + top + bottom - 2, width + left + right - 2
    out = jax.typeof(x).update(shape=(batch, *size, channels))
    made: Images = native.call("depthwise", out, x, kernel, top=top, left=left)
    return made


def _kernels_forward(
    x: Images, kernel: Kernel, pads: Pads
) -> tuple[Outputs, tuple[Images, Kernel]]:
    return _kernels(x, kernel, pads), (x, kernel)


def _kernels_backward(
    pads: Pads, saved: tuple[Images, Kernel], gradient: Outputs
) -> tuple[Images, Kernel]:
    return _kernels_gradients(*saved, gradient, pads)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _kernels_gradients(
    x: Images, kernel: Kernel, gradient: Outputs, pads: Pads
) -> tuple[Images, Kernel]:
    (top, _), (left, _) = pads
    like = jax.typeof(x), jax.typeof(kernel)
    of_x, of_kernel = native.call(
        "depthwise_gradients", like, x, kernel, gradient, top=top, left=left
    )
    return of_x, of_kernel


def _gradients_forward(
    x: Images, kernel: Kernel, gradient: Outputs, pads: Pads
) -> tuple[tuple[Images, Kernel], tuple[Images, Kernel, Outputs]]:
    return _kernels_gradients(x, kernel, gradient, pads), (x, kernel, gradient)


def _gradients_backward(
    pads: Pads, saved: tuple[Images, Kernel, Outputs], slopes: tuple[Images, Kernel]
) -> tuple[Images, Kernel, Outputs]:
    """Of the same formula in JAX: a second derivative need not be fast."""

    def same(x: Images, kernel: Kernel, gradient: Outputs) -> tuple[Images, Kernel]:
        return _shift_backward(1, pads, (x, kernel), gradient)

    gradients: tuple[Images, Kernel, Outputs] = jax.vjp(same, *saved)[1](slopes)
    return gradients


_kernels.defvjp(_kernels_forward, _kernels_backward)
_kernels_gradients.defvjp(_gradients_forward, _gradients_backward)

Implementation = Callable[[Images, Kernel, int, Pads], Outputs]
DEPTHWISE_IMPLEMENTATIONS: dict[str, Implementation] = {"lax": _lax, "shift": _shift}
if native.available():
    DEPTHWISE_IMPLEMENTATIONS["native"] = _native


def depthwise_conv2d(
    x: Images,
    kernel: Kernel,
    *,
    strides: int = 1,
    padding: Padding = "SAME",
    implementation: str = "auto",
) -> Outputs:
    """Convolves each channel with its own spatial kernel (depth multiplier 1).

    Args:
        x: [batch, height, width, channels].
        kernel: [kernel_height, kernel_width, 1, channels], of `x`'s type.
        strides: of both spatial dimensions.
        padding: "SAME" (as in TensorFlow) or "VALID".
        implementation: a name in `DEPTHWISE_IMPLEMENTATIONS`, or "auto": see `choices`.

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
    chosen = choose_implementation("depthwise", implementation, DEPTHWISE_IMPLEMENTATIONS)
    pads = explicit_padding(spatial_size(x), _window(kernel), strides, padding)
    kernel = match_variance(x, kernel)
    return DEPTHWISE_IMPLEMENTATIONS[chosen](x, kernel, strides, pads)
