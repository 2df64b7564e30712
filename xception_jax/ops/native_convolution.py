"""Convolutions by the C++ kernels of `native`: any window, stride and number of groups, on CPUs."""

from typing import Any

import jax
from jaxtyping import Array

from xception_jax.ops import native
from xception_jax.ops.gradients import Gradients, with_gradients
from xception_jax.ops.shapes import Images
from xception_jax.ops.tiles import Features, Kernel, Tiling, tiled_conv2d


def native_conv2d(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    """Convolves `x` by the C++ kernels, in float32; in tiles if they do not support the arrays."""
    if not native.computes(x, kernel):
        return tiled_conv2d(x, kernel, tiling)
    return _float32(x.astype("float32"), kernel.astype("float32"), tiling).astype(x.dtype)


def _call(name: str, like: Any, one: Array, other: Array, tiling: Tiling) -> Array:
    """Calls a kernel whose result has the type `like`."""
    (top, _), (left, _) = tiling.pads
    sizes = {"groups": tiling.groups, "stride": tiling.strides, "top": top, "left": left}
    result: Array = native.call(name, like, one, other, **sizes)
    return result


def _convolve(x: Images, kernel: Kernel, tiling: Tiling) -> Features:
    shape = (x.shape[0], *tiling.out_size, kernel.shape[3])
    return _call("convolution", jax.typeof(x).update(shape=shape), x, kernel, tiling)


def _gradients(x: Images, kernel: Kernel, gradient: Features, tiling: Tiling) -> Gradients:
    """Calls one kernel for each gradient, so that XLA removes the call of one that is not used."""
    return (
        _call("convolution_for_x", jax.typeof(x), kernel, gradient, tiling),
        _call("convolution_for_kernel", jax.typeof(kernel), x, gradient, tiling),
    )


_float32 = with_gradients(_convolve, _gradients, formula=tiled_conv2d)
