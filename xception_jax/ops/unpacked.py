"""XLA's regular convolution for a run alone, whose vmap is tiles and not a grouped convolution.

With one group of channels, XLA's own convolution is fast on a CPU, and 1.1 times as fast as tiles
for whole training steps of AlexNet and Inception. But vmap over kernels, which a pack is, makes it
a grouped one, and then tiles are faster.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array

from xception_jax.ops.gradients import Gradients, gradients_of, with_gradients
from xception_jax.ops.shapes import Images, Pads
from xception_jax.ops.tiles import Features, Kernel, Tiling, tiled_conv2d


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


def untiled_conv2d(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    """Computes what `tiled_conv2d` does by `lax_conv2d`, without tiles."""
    return lax_conv2d(x, kernel, tiling.strides, tiling.pads, tiling.groups)


def _unless_batched(
    alone: Callable[..., Any], batched: Callable[..., Any], *arguments: Array
) -> Any:
    """Calls `alone`; under vmap, calls `batched` under vmap instead."""
    function = custom_vmap(alone)

    @function.def_vmap
    def _(_: int, in_batched: list[bool], *arguments: Array) -> tuple[Any, Any]:
        axes = tuple(0 if is_batched else None for is_batched in in_batched)
        outputs = jax.vmap(batched, in_axes=axes)(*arguments)
        return outputs, jax.tree.map(lambda _: True, outputs)

    return function(*arguments)


def _convolve(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    alone, batched = partial(untiled_conv2d, tiling=tiling), partial(tiled_conv2d, tiling=tiling)
    out: Features = _unless_batched(alone, batched, x, kernel)
    return out


def _gradients(x: Images, kernel: Kernel, gradient: Features, tiling: Tiling) -> Gradients:
    alone, batched = (
        partial(gradients_of, partial(convolve, tiling=tiling))
        for convolve in (untiled_conv2d, tiled_conv2d)
    )
    gradients: Gradients = _unless_batched(alone, batched, x, kernel, gradient)
    return gradients


_differentiable = with_gradients(_convolve, _gradients, formula=tiled_conv2d)


def unpacked_conv2d(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    """Convolves `x` over one group of channels, by XLA's own operation, or in tiles under vmap."""
    return _differentiable(x, kernel, tiling)
