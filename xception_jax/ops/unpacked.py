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

from xception_jax.ops.shapes import Images
from xception_jax.ops.tiles import Features, Kernel, Tiling, tiled_conv2d

Gradients = tuple[Images, Kernel]


def _by_lax(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    strides = tiling.strides, tiling.strides
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, tiling.pads, dimension_numbers=numbers)


def _gradients_of(
    convolve: Callable[..., Features], x: Images, kernel: Kernel, gradient: Features
) -> Gradients:
    gradients: Gradients = jax.vjp(convolve, x, kernel)[1](gradient)
    return gradients


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


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def unpacked_conv2d(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    """Convolves `x` over one group of channels, by XLA's own operation, or in tiles under vmap."""
    out: Features = _unless_batched(
        partial(_by_lax, tiling=tiling), partial(tiled_conv2d, tiling=tiling), x, kernel
    )
    return out


def _forward(x: Images, kernel: Kernel, tiling: Tiling) -> tuple[Features, tuple[Images, Kernel]]:
    return unpacked_conv2d(x, kernel, tiling), (x, kernel)


def _backward(tiling: Tiling, saved: tuple[Images, Kernel], gradient: Features) -> Gradients:
    return _gradients(*saved, gradient, tiling)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _gradients(x: Images, kernel: Kernel, gradient: Features, tiling: Tiling) -> Gradients:
    by_lax, in_tiles = (
        partial(_gradients_of, partial(convolve, tiling=tiling))
        for convolve in (_by_lax, tiled_conv2d)
    )
    gradients: Gradients = _unless_batched(by_lax, in_tiles, x, kernel, gradient)
    return gradients


def _gradients_forward(
    x: Images, kernel: Kernel, gradient: Features, tiling: Tiling
) -> tuple[Gradients, tuple[Images, Kernel, Features]]:
    return _gradients(x, kernel, gradient, tiling), (x, kernel, gradient)


def _gradients_backward(
    tiling: Tiling, saved: tuple[Images, Kernel, Features], second: Gradients
) -> tuple[Images, Kernel, Features]:
    """Differentiates the formula of tiles, since second derivatives need not be fast."""
    first = partial(_gradients_of, partial(tiled_conv2d, tiling=tiling))
    gradients: tuple[Images, Kernel, Features] = jax.vjp(first, *saved)[1](second)
    return gradients


unpacked_conv2d.defvjp(_forward, _backward)
_gradients.defvjp(_gradients_forward, _gradients_backward)
