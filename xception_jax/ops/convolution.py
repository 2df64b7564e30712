"""Regular, grouped and pointwise convolutions."""

from functools import partial
from itertools import chain

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from xception_jax.ops.dispatch import choose_implementation
from xception_jax.ops.shapes import (
    AnyImages,
    Images,
    Padding,
    Pads,
    explicit_padding,
    match_variance,
    require_array,
    require_images,
    require_positive,
    require_same_dtype,
    shifted_images,
    spatial_size,
)

CONVOLUTION_IMPLEMENTATIONS = ("lax", "matmul")
Kernel = Float[Array, "kernel_height kernel_width in_per_group out"]
Features = Float[Array, "batch new_height new_width out"]
Left = Float[Array, "rows inner"]
Right = Float[Array, "inner columns"]
Product = Float[Array, "rows columns"]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product_of(a: Left, b: Right, dtype: str) -> Product:
    """`a @ b` of numbers rounded to `dtype`, added up and returned in `a`'s type."""
    return lax.dot(a.astype(dtype), b.astype(dtype), preferred_element_type=a.dtype)


def _product_forward(a: Left, b: Right, dtype: str) -> tuple[Product, tuple[Left, Right]]:
    # Rounded, they take half the memory, and the backward pass rounds them anyway.
    return _product_of(a, b, dtype), (a.astype(dtype), b.astype(dtype))


def _product_backward(
    dtype: str, saved: tuple[Left, Right], gradient: Product
) -> tuple[Left, Right]:
    """Derived automatically, it would multiply numbers of two types, which XLA does slowly."""
    a, b = (value.astype(gradient.dtype) for value in saved)
    return _product_of(gradient, b.T, dtype), _product_of(a.T, gradient, dtype)


_product_of.defvjp(_product_forward, _product_backward)


def _product(a: Left, b: Right, dtype: str | None) -> Product:
    return a @ b if dtype is None or dtype == a.dtype else _product_of(a, b, dtype)


def lax_conv2d(x: Images, kernel: Kernel, strides: int, pads: Pads, groups: int) -> Features:
    """Convolves with XLA's own operation, over `groups` independent groups of channels."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(strides, strides),
        padding=pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _matmul(x: Images, kernel: Kernel, strides: int, pads: Pads, dtype: str | None) -> Features:
    """Computes the convolution as one matrix product, with all kernel taps side by side."""
    window, features = (kernel.shape[0], kernel.shape[1]), kernel.shape[-1]
    # The barrier keeps XLA from compiling and repeating the computation of `x` for every tap.
    x = lax.optimization_barrier(x)
    taps = list(chain.from_iterable(shifted_images(x, window, strides, pads)))
    patches = jnp.concatenate(taps, axis=-1)
    rows = jnp.reshape(patches, (-1, patches.shape[-1]))
    out = _product(rows, jnp.reshape(kernel, (-1, features)), dtype)
    return jnp.reshape(out, (*patches.shape[:3], features))


def conv2d(
    x: AnyImages,
    kernel: Kernel,
    *,
    strides: int = 1,
    padding: Padding = "SAME",
    groups: int = 1,
    matmul_dtype: str | None = None,
    implementation: str = "auto",
) -> Features:
    """Convolves images over `groups` independent groups of channels.

    Args:
        x: [batch, height, width, in].
        kernel: [kernel_height, kernel_width, in / groups, out], with the dtype of `x`.
        strides: stride in both spatial dimensions.
        padding: "SAME" or "VALID".
        groups: number of channel groups, which must divide both numbers of channels.
        matmul_dtype: of the factors of "matmul" (see `pointwise_conv2d`); "lax" has none.
        implementation: a name in `CONVOLUTION_IMPLEMENTATIONS`, or "auto": see `dispatch`. "lax"
            computes several groups in any case.

    Raises:
        InputError: `implementation` or `padding` is unknown.
        ValueError: shapes, dtypes or groups do not match.
    """
    x = require_images("x", x)
    kernel = require_array("kernel", kernel, "height width in_per_group out")
    require_positive("groups", groups)
    if kernel.shape[2] * groups != x.shape[-1] or kernel.shape[3] % groups:
        raise ValueError(
            f"kernel {kernel.shape} does not fit {groups} groups of the channels of x {x.shape}"
        )
    require_same_dtype(x, kernel)
    window = kernel.shape[0], kernel.shape[1]
    pads = explicit_padding(spatial_size(x), window, strides, padding)
    chosen = choose_implementation(
        "convolution", implementation, CONVOLUTION_IMPLEMENTATIONS, channels=x.shape[-1]
    )
    if chosen == "lax" or groups > 1:
        return lax_conv2d(x, kernel, strides, pads, groups)
    return _matmul(x, match_variance(x, kernel), strides, pads, matmul_dtype)


def pointwise_conv2d(
    x: AnyImages,
    kernel: Float[Array, "1 1 in out"],
    *,
    strides: int = 1,
    matmul_dtype: str | None = None,
    implementation: str = "auto",
) -> Features:
    """Computes a 1x1 convolution as a single matrix product.

    With [batch * height * width, in] XLA:CPU calls its matrix kernel directly; as a convolution, or
    as a product of four-dimensional arrays, the backward pass was up to twice as slow.

    Args:
        x: [batch, height, width, in].
        kernel: [1, 1, in, out], with the dtype of `x`.
        strides: stride in both spatial dimensions.
        matmul_dtype: what the factors of "matmul" are rounded to, forward and backward; sums stay
            in `x`'s type. None: `x`'s type. "lax" has none.
        implementation: a name in `CONVOLUTION_IMPLEMENTATIONS`, or "auto": see `dispatch`.

    Raises:
        InputError: `implementation` is unknown.
        ValueError: shapes or dtypes do not match.
    """
    x = require_images("x", x)
    kernel = require_array("kernel", kernel, "1 1 in out")
    if kernel.shape[:3] != (1, 1, x.shape[-1]):
        raise ValueError(f"kernel must be [1, 1, {x.shape[-1]}, out]; got shape {kernel.shape}")
    require_same_dtype(x, kernel)
    require_positive("strides", strides)
    if choose_implementation("pointwise", implementation, CONVOLUTION_IMPLEMENTATIONS) == "lax":
        return lax_conv2d(x, kernel, strides, ((0, 0), (0, 0)), groups=1)
    if strides != 1:
        x = x[:, ::strides, ::strides]
    matrix = match_variance(x, kernel)[0, 0]
    rows = _product(jnp.reshape(x, (-1, x.shape[-1])), matrix, matmul_dtype)
    return jnp.reshape(rows, (*x.shape[:-1], kernel.shape[-1]))
