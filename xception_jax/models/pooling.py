"""The pools of the models: over windows, and over the last feature map before the classifier."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from xception_jax import ops
from xception_jax.models.layers import Padding, pad_explicit


def max_pool(
    x: Float[Array, "b h w c"], *, strides: int = 2, padding: Padding = "SAME"
) -> Float[Array, "b h2 w2 c"]:
    """Maximum over 3x3 pixels: `ops.max_pool`, with PyTorch's padding ("SYMMETRIC") too.

    Args:
        x: images [batch, height, width, channels].
        strides: strides of the windows.
        padding: "SAME", "VALID" or "SYMMETRIC".
    """
    x, ops_padding = pad_explicit(x, (3, 3), padding, fill=-jnp.inf)
    return ops.max_pool(x, strides=strides, padding=ops_padding)


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Mean over 3x3 pixels at stride 1, 'SAME'; as in Keras, padding is not averaged over.

    It sums shifted images along one dimension after the other, in float32 at least: XLA makes fast
    code of that, and of its gradient, on every backend.

    Args:
        x: images [batch, height, width, channels].
    """
    dtype = x.dtype
    x = x.astype(jnp.promote_types(dtype, jnp.float32))
    for axis in (1, 2):
        size = x.shape[axis]
        pads = [(1, 1) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(x, pads)
        shifted = [lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)]
        position = np.arange(size)
        count = np.minimum(position + 1, size - 1) - np.maximum(position - 1, 0) + 1
        weights = (1 / count).reshape([-1 if i == axis else 1 for i in range(4)])
        x = sum(shifted[1:], start=shifted[0]) * jnp.asarray(weights, x.dtype)
    return x.astype(dtype)


def pool_to_grid(x: Float[Array, "b h w c"], grid: int) -> Float[Array, "b features"]:
    """Means over `grid` x `grid` parts of the image that cover it, as one row of features.

    Where the size is no multiple of `grid`, neighbouring parts share pixels.

    Args:
        x: feature maps [batch, height, width, channels].
        grid: number of parts in each direction; 1 is global average pooling.

    Returns:
        The means [batch, grid * grid * channels].
    """
    if grid == 1:
        return jnp.mean(x, axis=(1, 2))
    if x.shape[1:3] != (grid, grid):
        rows, columns = (jnp.asarray(_parts(size, grid), x.dtype) for size in x.shape[1:3])
        x = jnp.einsum("ih,bhwc,jw->bijc", rows, x, columns, precision=lax.Precision.HIGHEST)
    return jnp.reshape(x, (x.shape[0], -1))


def _parts(size: int, grid: int) -> np.ndarray:
    """Weights [grid, size] of which each row averages the pixels of one part."""
    weights = np.zeros((grid, size))
    for part in range(grid):
        first, last = part * size // grid, -(-(part + 1) * size // grid)
        weights[part, first:last] = 1 / (last - first)
    return weights
