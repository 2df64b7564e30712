"""Folding of batch normalization into the convolution before it, for evaluation.

In evaluation a normalization multiplies every channel by a constant and adds another. The factor
can be multiplied into the kernel of the convolution before, so that only the addition remains.
"""

from collections.abc import Iterator
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from xception_jax import ops
from xception_jax.models.blocks import SeparableConv
from xception_jax.models.functional import ModelFunction, Params, functionalize
from xception_jax.models.tower_network import ConvUnit
from xception_jax.models.xception import Xception, XceptionModule


class Shift(nnx.Module):
    """The addition that remains of a folded normalization."""

    def __init__(self, shift: Float[Array, " c"]) -> None:
        self.shift = nnx.Param(shift)

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        train: bool,  # noqa: ARG002
        *,
        max_pool: ops.Padding | None = None,
    ) -> Float[Array, "b h2 w2 c"]:
        """Adds the shift, in its dtype, then pools as the normalization's own call does."""
        x = (x.astype(self.shift[...].dtype) + self.shift[...]).astype(x.dtype)
        return x if max_pool is None else ops.max_pool(x, padding=max_pool)


def _kernels(block: SeparableConv) -> tuple[nnx.Param, nnx.Param]:
    """The kernels of a block in the order in which they are applied."""
    if block.config.order == "depthwise_first":
        return block.spatial_kernel, block.pointwise_kernel
    return block.pointwise_kernel, block.spatial_kernel


def _normalizations(module: Any) -> Iterator[tuple[nnx.Param, Any, int | str]]:
    """Yields (kernel, holder, name): `holder` has the normalization of its output under `name`.

    A holder that is a list has it under an index.
    """
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
    """Folds the normalizations of a model into its kernels, for evaluation.

    The logits are those of the unfolded model up to rounding. The function is pure and works inside
    `jit` and `vmap`. Normalizations that no model of the registry has are left as they are.

    Returns:
        The folded model, its parameters, and its remaining batch statistics.

    Raises:
        ValueError: the parameters or statistics are not those of `function`.
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
    """Folds a model and applies it: the logits of `function.apply(…, train=False, **settings)`."""
    folded, parameters, batch_stats = fold(function, parameters, batch_stats)
    return folded.apply(parameters, batch_stats, images, train=False, **settings)[0]
