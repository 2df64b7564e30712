"""The block under study: a spatial and a pointwise convolution, in either order.

Paper sections 1.1 and 1.2. Between a regular and a depthwise convolution lies a spectrum, set by
the number of independent channel segments the spatial convolution works on.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import gcd
from typing import Any, Literal, get_args

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from xception_jax import ops
from xception_jax.errors import InputError, require_choice
from xception_jax.models.activations import ActivationIndex, select_activation
from xception_jax.models.layers import (
    ACTIVATIONS,
    KERNEL_INITIALIZER,
    KernelSize,
    NormSpec,
    Padding,
    kernel_shape,
    pad_explicit,
    parameter,
    require_activation,
    require_count,
)

DEFAULT_NORM = NormSpec()
DTYPES = ("float32", "bfloat16", "float64")
MATMUL_DTYPES = (None, "bfloat16")
ORDERS = ("depthwise_first", "pointwise_first")
Segments = int | Literal["per_channel"]


@dataclass(frozen=True)
class BlockSpec:
    """How a block is built, but for its numbers of features.

    Attributes:
        order: "depthwise_first" (separable convolution) or "pointwise_first" (Inception).
        intermediate_activation: between the two operations; "none", "relu", "elu", or another
            activation of `jax.nn`. Several: one of them, picked at run time
            (`activations.ActivationIndex`).
        segments: independent channel groups of the spatial convolution; "per_channel" is a
            depthwise convolution, 1 a regular one.
        kernel_size: of the spatial convolution, pixels, or (height, width); odd.
        intermediate_norm: batch normalization between the two operations.
        dtype: of the computation, "float32", "bfloat16" or "float64".
        depthwise_implementation: a name in `ops.DEPTHWISE_IMPLEMENTATIONS`, or "auto".
        matmul_dtype: what the factors of matrix products are rounded to; None: `dtype`.
        norm: how batch normalization is built.

    Raises:
        InputError: a value that does not exist, with the nearest one that does.
    """

    order: str = "depthwise_first"
    intermediate_activation: str | tuple[str, ...] = "none"
    segments: Segments = "per_channel"
    kernel_size: KernelSize = 3
    intermediate_norm: bool = False
    dtype: str = "float32"
    depthwise_implementation: str = "auto"
    matmul_dtype: str | None = None
    norm: NormSpec = DEFAULT_NORM

    def __post_init__(self) -> None:
        require_choice("model.order", self.order, ORDERS)
        for name in self.activations:
            require_activation("model.intermediate_activation", name)
        require_choice("model.dtype", self.dtype, DTYPES)
        require_choice(
            "model.depthwise_implementation",
            self.depthwise_implementation,
            ("auto", *ops.DEPTHWISE_IMPLEMENTATIONS),
        )
        if self.matmul_dtype not in MATMUL_DTYPES:
            raise InputError("model.matmul_dtype", self.matmul_dtype, "must be bfloat16 or null")
        for side in kernel_shape(self.kernel_size):
            require_count("model.kernel_size", side)
            if side % 2 == 0:
                raise InputError("model.kernel_size", side, "must be odd", side - 1)
        if isinstance(self.segments, str):
            require_choice("model.segments", self.segments, ("per_channel",))
        else:
            require_count("model.segments", self.segments)

    @property
    def activations(self) -> tuple[str, ...]:
        """The intermediate activation, or those of which one is picked."""
        names = self.intermediate_activation
        return (names,) if isinstance(names, str) else names

    def spatial_channels(self, in_features: int, out_features: int) -> int:
        """Channels that the spatial convolution of a block sees."""
        return in_features if self.order == "depthwise_first" else out_features

    def build(
        self, in_features: int, out_features: int, *, rngs: nnx.Rngs | None = None, **place: Any
    ) -> "SeparableConv":
        """A block built this way, but for what `place` says; see `SeparableConv`.

        Args:
            in_features: channels of the input.
            out_features: channels of the output.
            rngs: for the initial values; None: seed 0.
            place: what its place in a model decides: `strides`, `padding`, another `kernel_size`.
        """
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        return SeparableConv(in_features, out_features, rngs=rngs, **settings | place)

    def require_segments(self, blocks: Iterable[tuple[int, int]]) -> None:
        """Raises `InputError` unless all `blocks`, (input, output) features, can have the segments.

        The nearest valid number that the error names is one that all blocks can have.
        """
        channels = [self.spatial_channels(*features) for features in blocks]
        if isinstance(self.segments, int) and channels:
            meaning = "the model's channel counts' common divisor"
            count_segments(self.segments, gcd(*channels), meaning)


def count_segments(segments: Segments, channels: int, meaning: str = "channels") -> int:
    """The number of segments `channels` channels fall into.

    Args:
        segments: a number of them, or "per_channel".
        channels: of the spatial convolution.
        meaning: what `channels` is, for the message.

    Raises:
        InputError: `segments` does not divide `channels`.
    """
    if segments == "per_channel":
        return channels
    if channels % segments:
        divisors = [d for d in range(1, channels + 1) if channels % d == 0]
        near = min(divisors, key=lambda d: abs(d - segments))
        raise InputError("model.segments", segments, f"must divide {channels} ({meaning})", near)
    return segments


class SeparableConv(nnx.Module):
    """A spatial convolution over channel segments and a pointwise convolution, no bias.

    Two parameters: `spatial_kernel` [k, k, channels / segments, channels], where channels is
    `in_features` if the spatial convolution comes first and `out_features` otherwise, and
    `pointwise_kernel` [1, 1, in_features, out_features].

    Args:
        in_features: channels of the input.
        out_features: channels of the output.
        kernel_size: of the spatial convolution, pixels, or (height, width); odd.
        order: "depthwise_first" or "pointwise_first".
        intermediate_activation: between the two operations; "none", "relu", "elu", …; several: one
            of them, picked at run time, the first where nothing is said.
        segments: independent channel groups of the spatial convolution, or "per_channel".
        intermediate_norm: batch normalization between the two operations.
        dtype: of the computation, "float32", "bfloat16" or "float64".
        depthwise_implementation: a name in `ops.DEPTHWISE_IMPLEMENTATIONS`, or "auto".
        matmul_dtype: what the factors of matrix products are rounded to; None: `dtype`.
        norm: how batch normalization is built.
        strides: of the spatial convolution; the pointwise one has none in either order.
        padding: of the spatial convolution, "SAME", "VALID" or "SYMMETRIC" (PyTorch's).
        rngs: for the initial values; None: seed 0.

    Raises:
        InputError: a setting that does not exist, or segments that do not divide the channels.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: KernelSize = 3,
        *,
        order: str = "depthwise_first",
        intermediate_activation: str | tuple[str, ...] = "none",
        segments: Segments = "per_channel",
        intermediate_norm: bool = False,
        dtype: str = "float32",
        depthwise_implementation: str = "auto",
        matmul_dtype: str | None = None,
        norm: NormSpec = DEFAULT_NORM,
        strides: int = 1,
        padding: Padding = "SAME",
        rngs: nnx.Rngs | None = None,
    ) -> None:
        require_count("strides", strides)
        require_choice("padding", padding, get_args(Padding))
        require_count("in_features", in_features)
        require_count("out_features", out_features)
        self.spec = BlockSpec(
            order,
            intermediate_activation,
            segments,
            kernel_size,
            intermediate_norm,
            dtype,
            depthwise_implementation,
            matmul_dtype,
            norm,
        )
        self.in_features, self.strides, self.padding = in_features, strides, padding
        channels = self.spec.spatial_channels(in_features, out_features)
        self.groups = count_segments(segments, channels)
        rngs = nnx.Rngs(0) if rngs is None else rngs
        shape = (*kernel_shape(kernel_size), channels // self.groups, channels)
        self.spatial_kernel = parameter(rngs, KERNEL_INITIALIZER, shape)
        self.pointwise_kernel = parameter(
            rngs, KERNEL_INITIALIZER, (1, 1, in_features, out_features)
        )
        if self.spec.intermediate_norm:
            self.intermediate_norm = norm.build(channels, rngs=rngs)
        if len(self.spec.activations) > 1:
            self.intermediate_activation = ActivationIndex(jnp.int32(0))

    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b h2 w2 f"]:
        """[batch, height, width, in] -> [batch, new height, new width, out].

        Args:
            x: the input.
            train: matters only to the optional normalization between the operations.

        Raises:
            ValueError: `x` of another rank or number of channels.
        """
        x = ops.require_images("x", x).astype(self.spec.dtype)
        if x.shape[-1] != self.in_features:
            raise ValueError(f"x must have {self.in_features} channels; got shape {x.shape}")
        first, second = self._spatial, self._pointwise
        if self.spec.order == "pointwise_first":
            first, second = second, first
        x = first(x)
        if self.spec.intermediate_norm:
            x = self.intermediate_norm(x, train)
        return second(self._activate(x))

    def _activate(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        functions = tuple(ACTIVATIONS[name] for name in self.spec.activations)
        if len(functions) == 1:
            return functions[0](x)
        return select_activation(functions, self.intermediate_activation[...], x)

    def _spatial(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        kernel = self.spatial_kernel[...].astype(self.spec.dtype)
        x, padding = pad_explicit(x, kernel.shape[:2], self.padding)
        if self.groups == x.shape[-1]:
            return ops.depthwise_conv2d(
                x,
                kernel,
                strides=self.strides,
                padding=padding,
                implementation=self.spec.depthwise_implementation,
            )
        return ops.conv2d(
            x,
            kernel,
            strides=self.strides,
            padding=padding,
            groups=self.groups,
            matmul_dtype=self.spec.matmul_dtype,
        )

    def _pointwise(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w f"]:
        kernel = self.pointwise_kernel[...].astype(x.dtype)
        return ops.pointwise_conv2d(x, kernel, matmul_dtype=self.spec.matmul_dtype)
