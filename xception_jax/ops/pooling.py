"""Max-pooling with a backward pass that is fast on XLA:CPU.

On CPU, XLA's own gradient of max-pooling (select-and-scatter) is a scalar loop. Here the forward
pass saves which tap won (one byte per output), and the backward pass is elementwise.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from xception_jax.ops.dispatch import choose_implementation
from xception_jax.ops.shapes import (
    AnyImages,
    Images,
    Outputs,
    Padding,
    Pads,
    Size,
    explicit_padding,
    require_images,
    require_positive,
    spatial_size,
)

Winners = Int[Array, "batch new_height new_width channels"]


def _lax(x: Images, window: int, strides: int, pads: Pads) -> Outputs:
    return lax.reduce_window(
        x,
        np.array(-jnp.inf, x.dtype),
        lax.max,
        (1, window, window, 1),
        (1, strides, strides, 1),
        ((0, 0), *pads, (0, 0)),
    )


def _winners(x: Images, window: int, strides: int, pads: Pads) -> tuple[Outputs, Winners]:
    """Returns the pooled images, and the row-major index of the first tap with the maximum."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    height, width = ((n - window) // strides * strides + 1 for n in padded.shape[1:3])
    # One byte per output if the tap's index fits into it.
    index = jnp.int8 if window * window <= 128 else jnp.int32

    def tap_input(tap: int) -> Outputs:
        i, j = divmod(tap, window)
        return padded[:, i : i + height : strides, j : j + width : strides]

    best = tap_input(0)
    winner = jnp.zeros(best.shape, index)
    for tap in range(1, window * window):
        candidate = tap_input(tap)
        # A NaN must win, as in the reference: otherwise a diverged run would look healthy.
        better = ~(candidate <= best) & ~jnp.isnan(best)
        best = jnp.where(better, candidate, best)
        winner = jnp.where(better, index(tap), winner)
    return best, winner


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _argmax(x: Images, window: int, strides: int, pads: Pads) -> Outputs:
    return _winners(x, window, strides, pads)[0]


def _argmax_forward(
    x: Images, window: int, strides: int, pads: Pads
) -> tuple[Outputs, tuple[Winners, Size]]:
    best, winner = _winners(x, window, strides, pads)
    return best, (winner, spatial_size(x))


def _argmax_backward(
    window: int, strides: int, pads: Pads, saved: tuple[Winners, Size], gradient: Outputs
) -> tuple[Images]:
    """Sums, for every input pixel, the gradients of the outputs that it won.

    Input pixels fall into strides x strides classes by their position. All pixels of a class are
    read by the same taps, so a class's gradient is a sum of shifted outputs, without a scatter.
    """
    winner, (height, width) = saved
    # The barrier keeps XLA from repeating the computation of either for every tap.
    winner, gradient = lax.optimization_barrier((winner, gradient))
    rows = -(-(height + pads[0][0]) // strides)
    columns = -(-(width + pads[1][0]) // strides)
    canvas = (gradient.shape[0], rows, columns, gradient.shape[-1])
    planes = []
    for row_class in range(strides):
        for column_class in range(strides):
            plane = jnp.zeros(canvas, gradient.dtype)
            for i in range(row_class, window, strides):
                for j in range(column_class, window, strides):
                    won = jnp.where(winner == i * window + j, gradient, 0)
                    plane = plane + _pad_to(won, i // strides, j // strides, rows, columns)
            planes.append(plane)
    batch, channels = gradient.shape[0], gradient.shape[-1]
    grid = jnp.stack(planes).reshape(strides, strides, batch, rows, columns, channels)
    full = grid.transpose(2, 3, 0, 4, 1, 5).reshape(batch, rows * strides, columns * strides, -1)
    top, left = pads[0][0], pads[1][0]
    return (full[:, top : top + height, left : left + width],)


def _pad_to(x: Images, top: int, left: int, rows: int, columns: int) -> Outputs:
    """Puts `x` at row `top` and column `left` of a canvas of `rows` x `columns` zeros."""
    bottom, right = rows - top - x.shape[1], columns - left - x.shape[2]
    return lax.pad(
        x, np.zeros((), x.dtype), ((0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0))
    )


_argmax.defvjp(_argmax_forward, _argmax_backward)
Implementation = Callable[[Images, int, int, Pads], Outputs]
POOLING_IMPLEMENTATIONS: dict[str, Implementation] = {"lax": _lax, "argmax": _argmax}


def max_pool(
    x: AnyImages,
    *,
    window: int = 3,
    strides: int = 2,
    padding: Padding = "SAME",
    implementation: str = "auto",
) -> Outputs:
    """Takes the maximum over square windows; the first maximum in reading order gets the gradient.

    Args:
        x: [batch, height, width, channels].
        window: side of the window, pixels.
        strides: stride in both spatial dimensions.
        padding: "SAME" (as in TensorFlow: on even sizes, more at the bottom right) or "VALID".
        implementation: a name in `POOLING_IMPLEMENTATIONS`, or "auto": see `dispatch`.

    Raises:
        InputError: `implementation` or `padding` is unknown.
        ValueError: `x` has another rank, or a "VALID" window does not fit into the image.
    """
    x = require_images("x", x)
    window, strides = require_positive("window", window), require_positive("strides", strides)
    chosen = choose_implementation("max_pool", implementation, POOLING_IMPLEMENTATIONS)
    pads = explicit_padding(spatial_size(x), (window, window), strides, padding)
    return POOLING_IMPLEMENTATIONS[chosen](x, window, strides, pads)
