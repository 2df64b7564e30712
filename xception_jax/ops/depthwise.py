"""Depthwise convolution: one function with several implementations that agree up to rounding.

XLA's grouped convolution is the reference, and the best choice on TPU, where it moves the fewest
bytes. On CPU it is one to two orders of magnitude slower than one multiply-add per kernel tap over
the shifted image.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from xception_jax.ops import native
from xception_jax.ops.dispatch import choose_implementation
from xception_jax.ops.gradients import Gradients, with_gradients
from xception_jax.ops.shapes import (
    AnyImages,
    Images,
    Outputs,
    Padding,
    Pads,
    Size,
    explicit_padding,
    match_variance,
    require_array,
    require_images,
    require_positive,
    require_same_dtype,
    shifted_images,
    spatial_size,
)
from xception_jax.ops.unpacked import lax_conv2d

Kernel = Float[Array, "kernel_height kernel_width 1 channels"]
# The most products that the kernel's gradient adds up in one loop: each is unrolled.
_MAX_TERMS = 24


def _window(kernel: Kernel) -> Size:
    return kernel.shape[0], kernel.shape[1]


def _lax(x: Images, kernel: Kernel, strides: int, pads: Pads) -> Outputs:
    return lax_conv2d(x, kernel, strides, pads, groups=x.shape[-1])


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
    """Computes both gradients from `x`; JAX's own VJP would also save every shifted image."""
    # The barrier keeps XLA from repeating the computation of the gradient for every tap.
    x, kernel, gradient = lax.optimization_barrier((*saved, gradient))
    kernel_gradient = _kernel_gradient(x, gradient, _window(kernel), strides, pads)
    return _image_gradient(x, kernel, gradient, strides, pads), kernel_gradient.astype(kernel.dtype)


def _image_gradient(
    x: Images, kernel: Kernel, gradient: Outputs, strides: int, pads: Pads
) -> Images:
    """Computes the gradient of `x`: at stride 1 a convolution with the mirrored kernel."""
    if strides != 1:
        return jax.vjp(lambda x: _shift_and_add(x, kernel, strides, pads), x)[1](gradient)[0]
    (top, bottom), (left, right) = pads
    rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
    mirrored_pads = (rows - top, rows - bottom), (columns - left, columns - right)
    return _shift(gradient, kernel[::-1, ::-1], 1, mirrored_pads)


def _kernel_gradient(
    x: Images, gradient: Outputs, window: Size, strides: int, pads: Pads
) -> Kernel:
    """Sums, for each tap, its input times the gradient over all axes but channels.

    The sums are in float32 at least.

    XLA:CPU compiles fast code only for this form: the image's rows are added up first, so that one
    elementwise loop without branches computes the rest of a row of taps, and one column sum reduces
    it. The loop over the image's rows is unrolled; for a tall image it takes several at a time.
    """
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    rows = _rows_at_a_time(gradient.shape[1])
    missing = -gradient.shape[1] % rows
    (top, bottom), columns = pads
    gradient = jnp.pad(gradient, ((0, 0), (0, missing), (0, 0), (0, 0))).astype(dtype)
    starts = range(0, gradient.shape[1], rows)
    sums = []
    for taps in shifted_images(x, window, strides, ((top, bottom + missing * strides), columns)):
        products = [
            sum(tap[:, i : i + rows].astype(dtype) * gradient[:, i : i + rows] for i in starts)
            for tap in taps
        ]
        flat = jnp.reshape(jnp.stack(products), (window[1], -1, x.shape[-1]))
        sums.append(jnp.sum(flat, axis=1))
    return jnp.stack(sums)[:, :, None, :]


def _rows_at_a_time(height: int) -> int:
    """Returns the fewest rows that leave at most `_MAX_TERMS` terms.

    A number that divides `height`, so that no rows are added to it, is taken if near.
    """
    least = -(-height // _MAX_TERMS)
    return next((rows for rows in range(least, 2 * least) if height % rows == 0), least)


_shift.defvjp(_shift_forward, _shift_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _lax_shift(x: Images, kernel: Kernel, strides: int, pads: Pads) -> Outputs:
    """Computes values by XLA's own operation and gradients as "shift" does.

    On GPUs the former is reported fast, and the gradients of grouped convolutions slow
    (jax-ml/jax#13800); not measured yet.
    """
    return _lax(x, kernel, strides, pads)


def _lax_shift_forward(
    x: Images, kernel: Kernel, strides: int, pads: Pads
) -> tuple[Outputs, tuple[Images, Kernel]]:
    return _lax_shift(x, kernel, strides, pads), (x, kernel)


_lax_shift.defvjp(_lax_shift_forward, _shift_backward)


def _native(x: Images, kernel: Kernel, strides: int, pads: Pads) -> Outputs:
    """Calls the C++ kernel, in float32, for 3x3 windows at stride 1; otherwise uses `_shift`."""
    supported = strides == 1 and _window(kernel) == (3, 3) and 0 not in x.shape
    if not supported or not native.computes(x, kernel):
        return _shift(x, kernel, strides, pads)
    return _native_float32(x.astype("float32"), kernel.astype("float32"), pads).astype(x.dtype)


def _call_forward(x: Images, kernel: Kernel, pads: Pads) -> Outputs:
    (top, bottom), (left, right) = pads
    batch, height, width, channels = x.shape
    size = height + top + bottom - 2, width + left + right - 2
    like = jax.typeof(x).update(shape=(batch, *size, channels))
    out: Outputs = native.call("depthwise", like, x, kernel, top=top, left=left)
    return out


def _call_backward(x: Images, kernel: Kernel, gradient: Outputs, pads: Pads) -> Gradients:
    (top, _), (left, _) = pads
    like = jax.typeof(x), jax.typeof(kernel)
    x_gradient, kernel_gradient = native.call(
        "depthwise_gradients", like, x, kernel, gradient, top=top, left=left
    )
    return x_gradient, kernel_gradient


def _formula(x: Images, kernel: Kernel, pads: Pads) -> Outputs:
    return _shift(x, kernel, 1, pads)


_native_float32 = with_gradients(_call_forward, _call_backward, _formula)

Implementation = Callable[[Images, Kernel, int, Pads], Outputs]
DEPTHWISE_IMPLEMENTATIONS: dict[str, Implementation] = {
    "lax": _lax,
    "lax_shift": _lax_shift,
    "shift": _shift,
}
if native.available():
    DEPTHWISE_IMPLEMENTATIONS["native"] = _native


def depthwise_conv2d(
    x: AnyImages,
    kernel: Kernel,
    *,
    strides: int = 1,
    padding: Padding = "SAME",
    implementation: str = "auto",
) -> Outputs:
    """Convolves each channel with its own spatial kernel (depth multiplier 1).

    Args:
        x: [batch, height, width, channels].
        kernel: [kernel_height, kernel_width, 1, channels], with the dtype of `x`.
        strides: stride in both spatial dimensions.
        padding: "SAME" (as in TensorFlow) or "VALID".
        implementation: a name in `DEPTHWISE_IMPLEMENTATIONS`, or "auto": see `dispatch`.

    Returns:
        [batch, new_height, new_width, channels] with the dtype of `x`. All implementations agree up
        to rounding.

    Raises:
        InputError: `implementation` or `padding` is unknown.
        ValueError: shapes or dtypes do not match, a "VALID" window does not fit into the image, or
            `strides` is no positive integer.
    """
    x = require_images("x", x)
    kernel = require_array("kernel", kernel, "height width 1 channels")
    if kernel.shape[2:] != (1, x.shape[-1]):
        raise ValueError(
            f"kernel must be [height, width, 1, {x.shape[-1]}], as x is {x.shape}; "
            f"got shape {kernel.shape}"
        )
    require_same_dtype(x, kernel)
    strides = require_positive("strides", strides)
    chosen = choose_implementation("depthwise", implementation, DEPTHWISE_IMPLEMENTATIONS)
    pads = explicit_padding(spatial_size(x), _window(kernel), strides, padding)
    kernel = match_variance(x, kernel)
    return DEPTHWISE_IMPLEMENTATIONS[chosen](x, kernel, strides, pads)
