"""Shapes, dtypes and padding of the operations' arguments, and their checks."""

from numbers import Integral
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from xception_jax.errors import require_choice

Images = Float[Array, "batch height width channels"]
AnyImages = Float[Array | np.ndarray, "batch height width channels"]
Outputs = Float[Array, "batch new_height new_width channels"]  # with as many channels
Padding = Literal["SAME", "VALID"]
Pads = tuple[tuple[int, int], tuple[int, int]]
Size = tuple[int, int]


def require_array(name: str, value: ArrayLike, axes: str) -> Array:
    """Converts `value` to an array and checks its number of dimensions and its dtype.

    Args:
        name: name of the argument, for error messages.
        value: an array, or anything that JAX converts to one.
        axes: names of the dimensions, such as "batch height width channels".

    Raises:
        ValueError: the array has another number of dimensions, or is not floating-point.
    """
    array = jnp.asarray(value)
    if array.ndim != len(axes.split()):
        raise ValueError(f"{name} must be [{', '.join(axes.split())}]; got shape {array.shape}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must hold floating-point numbers; got {array.dtype}")
    return array


def require_images(name: str, value: ArrayLike) -> Images:
    """Converts `value` to floating-point images [batch, height, width, channels]."""
    return require_array(name, value, "batch height width channels")


def require_positive(name: str, value: object) -> int:
    """Returns an integer as Python's own; raises ValueError unless it is one, and positive."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be an integer from 1; got {value!r}")
    return int(value)


def require_same_dtype(x: Array, kernel: Array) -> None:
    """Raises ValueError unless `x` and `kernel` have the same dtype."""
    if x.dtype != kernel.dtype:
        raise ValueError(f"x and kernel must have one dtype; got {x.dtype} and {kernel.dtype}")


def spatial_size(x: Images) -> Size:
    """Returns (height, width) of images."""
    return x.shape[1], x.shape[2]


def explicit_padding(size: Size, window: Size, strides: int, padding: str) -> Pads:
    """Returns ((top, bottom), (left, right)), the padding that "SAME" or "VALID" stands for.

    Raises:
        InputError: `padding` is neither.
        ValueError: the window is empty, or does not fit into the image.
    """
    require_choice("padding", padding, ("SAME", "VALID"))
    if min(window) < 1:
        raise ValueError(f"the window must have a pixel at least; got {window[0]} x {window[1]}")
    if min(size) < 1 or (padding == "VALID" and (size[0] < window[0] or size[1] < window[1])):
        pixels, taps = (f"{height} x {width}" for height, width in (size, window))
        raise ValueError(f"x of {pixels} pixels is smaller than the window of {taps}")
    (top, bottom), (left, right) = lax.padtype_to_pads(size, window, (strides, strides), padding)
    return (top, bottom), (left, right)


def shifted_images(x: Images, window: Size, strides: int, pads: Pads) -> list[list[Outputs]]:
    """Returns, as `[row][column]`, the input of each kernel tap, with the size of the output."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    size = [(n - k) // strides + 1 for n, k in zip(padded.shape[1:3], window, strict=True)]
    height, width = ((n - 1) * strides + 1 for n in size)
    return [
        [padded[:, i : i + height : strides, j : j + width : strides] for j in range(window[1])]
        for i in range(window[0])
    ]


def match_variance(x: Array, kernel: Array) -> Array:
    """Marks `kernel` as varying over the mesh axes that `x` varies over.

    Under `shard_map` with `check_vma=True` the kernel is replicated while the images are split. JAX
    handles the difference for its own operations, but not for those with a custom VJP. The
    derivative of this mark is the sum over mesh axes that the kernel's gradient needs.
    """
    missing = varying_axes(x) - varying_axes(kernel)
    return lax.pcast(kernel, tuple(missing), to="varying") if missing else kernel


def varying_axes(x: Array) -> frozenset[str]:
    """Returns the mesh axes over which JAX knows `x` to vary: none without `check_vma`."""
    array_type = jax.typeof(x)
    # The attribute was called `vma` up to some release of JAX 0.10.
    axes = array_type.vma if hasattr(array_type, "vma") else array_type.mat.varying
    return frozenset(axes)
