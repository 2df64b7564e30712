"""Frozen models with batch normalization folded into the convolution before it.

In evaluation a normalization multiplies every channel by a number and adds another. The first
belongs into the kernel whose output it is; only the second is left to be done.
"""

from collections.abc import Iterator
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from xception_jax.models.blocks import SeparableConv
from xception_jax.models.functional import ModelFunction, Params, functionalize
from xception_jax.models.tower_network import ConvUnit
from xception_jax.models.xception import Xception, XceptionModule


class Shift(nnx.Module):
    """What is left of a normalization whose scale is in a kernel."""

    def __init__(self, shift: Float[Array, " c"]) -> None:
        self.shift = nnx.Param(shift)

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:  # noqa: ARG002
        """Adds to each channel, in the shift's type."""
        return (x.astype(self.shift[...].dtype) + self.shift[...]).astype(x.dtype)


def _kernels(block: SeparableConv) -> tuple[nnx.Param, nnx.Param]:
    """In the order of their operations."""
    if block.config.order == "depthwise_first":
        return block.spatial_kernel, block.pointwise_kernel
    return block.pointwise_kernel, block.spatial_kernel


def _normalizations(module: Any) -> Iterator[tuple[nnx.Param, Any, int | str]]:
    """(kernel, what holds the normalization of its output, under which name or index)."""
    if isinstance(module, Xception):
        for index, stem in enumerate(module.stem):
            yield stem.kernel, module.stem_norms, index
    elif isinstance(module, XceptionModule):
        for index, convolution in enumerate(module.convolutions):
            yield _kernels(convolution)[-1], module.norms, index
        if module.shortcut == "projection":
            yield module.projection.kernel, module, "projection_norm"
    elif isinstance(module, ConvUnit):
        inner = module.convolution
        last = _kernels(inner)[-1] if isinstance(inner, SeparableConv) else inner.kernel
        yield last, module, "norm"
    elif isinstance(module, SeparableConv) and module.config.intermediate_norm:
        yield _kernels(module)[0], module, "intermediate_norm"


def fold(
    function: ModelFunction, parameters: Params, batch_stats: Params
) -> tuple[ModelFunction, Params, Params]:
    """The function without its normalizations, its parameters, and the statistics it still has.

    For evaluation only. Pure: also inside `jit` and `vmap`, where XLA does the folding. The logits
    are the unfolded ones up to rounding. What no model of the registry has stays as it is.

    Raises:
        ValueError: the dictionaries are not those of this function.
    """
    model = function.bind(parameters, batch_stats)
    for _, module in list(nnx.iter_modules(model)):
        for kernel, holder, name in _normalizations(module):
            norm = holder[name] if isinstance(name, int) else getattr(holder, name)
            scale, shift = norm.frozen()
            kernel[...] = kernel[...] * scale  # output channels are the last axis of every kernel
            if isinstance(name, int):
                holder[name] = Shift(shift)
            else:
                setattr(holder, name, Shift(shift))
    return functionalize(model)


def apply_folded(
    function: ModelFunction,
    parameters: Params,
    batch_stats: Params,
    images: Float[Array, "batch height width channels"],
    **settings: Any,
) -> Float[Array, "batch classes"]:
    """The logits of `function.apply(…, train=False, **settings)`, folded: see `fold`."""
    folded, parameters, batch_stats = fold(function, parameters, batch_stats)
    return folded.apply(parameters, batch_stats, images, train=False, **settings)[0]
