"""Convolutions as matrix products, each of which computes a tile of neighbouring output columns.

With a tile of one column this is the usual product of all kernel taps side by side ("im2col"), one
per group. A wider tile reads each input fewer times, and gives groups of few channels a product
that is wide enough to be fast: its matrix is a band of shifted kernels, whose zeros are multiplied
too. What is best depends on the shapes; see `fastest_columns`.

Measured in turns, forward and backward, on two busy cores at shapes of `experiments/segments.py`,
tiles took 0.2 to 0.8 of the time of one product with a block-diagonal matrix, 0.6 to 0.8 of that of
one column a tile, and 0.4 to 0.9 of that of a sum of products over taps. Block-diagonal products of
several groups, batched over the rest, lay in between. With 8 groups XLA's grouped convolution took
80 times as long.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from xception_jax.ops.shapes import Images, Pads, Size

Kernel = Float[Array, "kernel_height kernel_width in_per_group out"]
Features = Float[Array, "batch new_height new_width out"]
Patches = Float[Array, "groups rows inputs"]
Matrices = Float[Array, "groups inputs outputs"]

# The cost of copying one input into a patch, in multiply-adds, and the outputs that a matrix kernel
# computes at a time: fitted to the measurements above.
_COPY, _VECTOR = 30, 16
_MAX_COLUMNS = 16
# The most numbers in patches that are kept for the backward pass, for each convolution.
MAX_KEPT = 1 << 20


@dataclass(frozen=True)
class Tiling:
    """Sizes of a convolution that is computed in tiles.

    Attributes:
        size: height and width of the images.
        window: height and width of the kernel.
        strides: stride in both dimensions.
        pads: padding of height and width.
        groups: number of groups of channels.
        columns: neighbouring output columns in a tile.
    """

    size: Size
    window: Size
    strides: int
    pads: Pads
    groups: int
    columns: int = 1

    @property
    def out_size(self) -> Size:
        """Height and width of the output."""
        height, width = (
            (n + sum(pad) - k) // self.strides + 1
            for n, k, pad in zip(self.size, self.window, self.pads, strict=True)
        )
        return height, width

    @property
    def tiles(self) -> int:
        """Number of tiles in a row of the output; the last may reach beyond it."""
        return -(-self.out_size[1] // self.columns)

    @property
    def span(self) -> int:
        """Number of columns of the padded input that a tile reads."""
        return (self.columns - 1) * self.strides + self.window[1]

    @property
    def read(self) -> tuple[int, int]:
        """First and last (exclusive) column of a tile's span that may be other than padding."""
        if self.tiles > 1:
            return 0, self.span
        left = self.pads[1][0]
        return min(left, self.span), min(left + self.size[1], self.span)

    @property
    def copies(self) -> int:
        """Number of inputs that are read for one row of the output, for each channel."""
        first, last = self.read
        return self.tiles * self.window[0] * (last - first)


def fastest_columns(tiling: Tiling, in_per_group: int, out_per_group: int) -> int:
    """Returns the number of columns a tile with the least work, by shapes alone.

    Wider tiles copy less and fill the vector registers; their matrices have more zeros.
    """

    def work(columns: int) -> int:
        outputs = -(-columns * out_per_group // _VECTOR) * _VECTOR
        return replace(tiling, columns=columns).copies * in_per_group * (outputs + _COPY)

    width = tiling.out_size[1]
    return min(range(1, min(width, _MAX_COLUMNS) + 1), key=work)


def tiled_conv2d(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    """Convolves `x`, one matrix product for each group of channels.

    Patches of at most `MAX_KEPT` numbers are kept for the backward pass: whole training steps of
    small models took 3 to 9% less time. Larger ones are made again, from `x`. A batch of any size,
    as of a model that is exported, has no backward pass.
    """
    patches = x.shape[0] * tiling.out_size[0] * tiling.copies * x.shape[-1]
    if not isinstance(patches, int) or patches <= MAX_KEPT:
        return _products(x, kernel, tiling)
    return jax.checkpoint(_products, static_argnums=2)(x, kernel, tiling)


def _products(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    # The barrier keeps XLA from compiling and repeating the computation of `x` for every tap.
    patches = _patches(lax.optimization_barrier(x), tiling)
    products = jnp.matmul(patches, _matrices(kernel, tiling))
    height, width = tiling.out_size
    whole = (tiling.groups, x.shape[0], height, tiling.tiles * tiling.columns, -1)
    out = jnp.moveaxis(jnp.reshape(products, whole)[:, :, :, :width], 0, -2)
    return jnp.reshape(out, (*out.shape[:3], kernel.shape[-1]))


def _patches(x: Images, tiling: Tiling) -> Patches:
    """Returns what each tile of the output reads, with rows over batch, height and tiles."""
    (batch, _, _, channels), strides = x.shape, tiling.strides
    x = jnp.reshape(x, (*x.shape[:3], tiling.groups, channels // tiling.groups))
    pieces = _pieces(jnp.moveaxis(x, 3, 0), tiling)
    height, _ = tiling.out_size
    last = (height - 1) * strides + 1
    taps = [p[:, :, i : i + last : strides] for i in range(tiling.window[0]) for p in pieces]
    patches = jnp.concatenate(taps, axis=4)
    return jnp.reshape(patches, (tiling.groups, batch * height * tiling.tiles, -1))


def _pieces(
    x: Float[Array, "groups batch height width in_per_group"], tiling: Tiling
) -> list[Float[Array, "groups batch padded_height tiles columns in_per_group"]]:
    """Cuts padded images into tiles; side by side, the pieces are the columns a tile reads.

    A tile begins `step` columns after the one before it and reads beyond the next one's beginning:
    the first piece is a tile's own columns, the others are its neighbours'.
    """
    rows, (left, _) = tiling.pads
    first, last = tiling.read
    if tiling.tiles == 1:
        cut = x[:, :, :, first - left : last - left]
        return [jnp.pad(cut, ((0, 0), (0, 0), rows, (0, 0), (0, 0)))[:, :, :, None]]
    step, tiles = tiling.columns * tiling.strides, tiling.tiles
    count = -(-tiling.span // step)
    width = (tiles + count - 1) * step
    zero = jnp.zeros((), x.dtype)
    columns = (left, width - left - x.shape[3])  # what no tile reads is cut off
    none = (0, 0, 0)
    x = lax.pad(x, zero, (none, none, (*rows, 0), (*columns, 0), none))
    cells = jnp.reshape(x, (*x.shape[:3], tiles + count - 1, step, x.shape[-1]))
    return [
        cells[:, :, :, i : i + tiles, : min(step, tiling.span - i * step)] for i in range(count)
    ]


def _matrices(kernel: Kernel, tiling: Tiling) -> Matrices:
    """Returns the matrix of each group: for each column of a tile, the kernel shifted to it."""
    height, width, inputs, features = kernel.shape
    split = (height, width, inputs, tiling.groups, features // tiling.groups)
    kernel = jnp.moveaxis(jnp.reshape(kernel, split), 3, 0)
    columns = []
    for column in range(tiling.columns):
        before = column * tiling.strides
        pad = (before, tiling.span - width - before)
        columns.append(jnp.pad(kernel, ((0, 0), (0, 0), pad, (0, 0), (0, 0))))
    first, last = tiling.read
    band = jnp.stack(columns, axis=4)[:, :, first:last]
    return jnp.reshape(band, (tiling.groups, height * (last - first) * inputs, -1))
