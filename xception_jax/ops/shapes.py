"""What the operations take: shapes, types and padding, checked where a caller hands them over."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from xception_jax.errors import require_choice

Images = Float[Array, "batch height width channels"]
Outputs = Float[Array, "batch new_height new_width channels"]  # of as many channels
Padding = Literal["SAME", "VALID"]
Pads = tuple[tuple[int, int], tuple[int, int]]
Size = tuple[int, int]


def require_array(name: str, value: ArrayLike, axes: str) -> Array:
    """`value` as an array of floating-point numbers with as many dimensions as `axes` has words.

    Args:
        name: of the argument, for the message.
        value: an array, or what JAX makes one of.
        axes: names of the dimensions, such as "batch height width channels".

    Raises:
        ValueError: another number of dimensions, or numbers of another kind.
    """
    array = jnp.asarray(value)
    if array.ndim != len(axes.split()):
        raise ValueError(f"{name} must be [{', '.join(axes.split())}]; got shape {array.shape}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must hold floating-point numbers; got {array.dtype}")
    return array


def require_images(name: str, value: ArrayLike) -> Images:
    """`require_array` for [batch, height, width, channels]."""
    return require_array(name, value, "batch height width channels")


def require_positive(name: str, value: int) -> None:
    """Raises ValueError unless `value` is an integer from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer from 1; got {value!r}")


def spatial_size(x: Images) -> Size:
    """(height, width)."""
    return x.shape[1], x.shape[2]


def explicit_padding(size: Size, window: Size, strides: int, padding: str) -> Pads:
    """(low, high) padding of height and width that 'SAME' or 'VALID' stands for.

    Raises:
        InputError: `padding` is neither.
        ValueError: the window does not fit into the image, or strides below 1.
    """
    require_choice("padding", padding, ("SAME", "VALID"))
    require_positive("strides", strides)
    if min(size) < 1 or (padding == "VALID" and (size[0] < window[0] or size[1] < window[1])):
        shown = " x ".join(map(str, size)), " x ".join(map(str, window))
        raise ValueError(f"x of {shown[0]} pixels is smaller than the window of {shown[1]}")
    (top, bottom), (left, right) = lax.padtype_to_pads(size, window, (strides, strides), padding)
    return (top, bottom), (left, right)


def shifted_images(x: Images, window: Size, strides: int, pads: Pads) -> list[list[Outputs]]:
    """The image each kernel tap sees: `[row][column]`, every one of the output's size."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    size = [(n - k) // strides + 1 for n, k in zip(padded.shape[1:3], window, strict=True)]
    height, width = ((n - 1) * strides + 1 for n in size)
    return [
        [padded[:, i : i + height : strides, j : j + width : strides] for j in range(window[1])]
        for i in range(window[0])
    ]


def match_variance(x: Array, kernel: Array) -> Array:
    """`kernel`, marked as varying over the mesh axes that `x` varies over.

    Under `shard_map` with `check_vma=True` a kernel is replicated while the images are split. JAX
    sees to the difference for its own operations, not for one with a VJP of ours: the derivative of
    this mark is the sum over the axes that the kernel's gradient needs.
    """
    missing = varying_axes(x) - varying_axes(kernel)
    return lax.pcast(kernel, tuple(missing), to="varying") if missing else kernel


def varying_axes(x: Array) -> frozenset[str]:
    """The mesh axes over which JAX knows `x` to vary: none without `check_vma`."""
    kind = jax.typeof(x)
    # The attribute's name was `vma` up to some release of JAX 0.10.
    axes = kind.vma if hasattr(kind, "vma") else kind.mat.varying
    return frozenset(axes)
