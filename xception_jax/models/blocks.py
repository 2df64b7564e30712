"""The block under study: a spatial and a pointwise convolution, in either order.

See paper sections 1.1 and 1.2. Between a regular and a depthwise convolution lies a spectrum, set
by the number of independent channel segments that the spatial convolution works on.
"""

from collections.abc import Iterable
from dataclasses import replace
from math import gcd
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from xception_jax import ops
from xception_jax.config.keywords import from_keywords, takes_settings
from xception_jax.config.model import BlockConfig, KernelSize, Segments
from xception_jax.errors import InputError, require_choice
from xception_jax.models.activations import (
    ACTIVATIONS,
    ActivationIndex,
    require_activation,
    select_activation,
)
from xception_jax.models.layers import (
    KERNEL_INITIALIZER,
    BatchNorm,
    Dense,
    Padding,
    kernel_shape,
    pad_explicit,
    parameter,
    require_count,
)


def require_block(config: BlockConfig) -> None:
    """Raises `InputError` unless the names in a block's config exist.

    Everything else was checked when the config was made, which does not import JAX.
    """
    for name in config.activations:
        require_activation("model.intermediate_activation", name)
    implementations = ("auto", *ops.DEPTHWISE_IMPLEMENTATIONS)
    chosen = config.depthwise_implementation
    require_choice("model.depthwise_implementation", chosen, implementations)


def require_segments(config: BlockConfig, blocks: Iterable[tuple[int, int]]) -> None:
    """Raises `InputError` unless the segments divide the channels of all `blocks`.

    The nearest valid number that the error names is one that divides the channels of all.

    Args:
        config: config of the blocks.
        blocks: (input, output) features of each block.
    """
    channels = [config.spatial_channels(*features) for features in blocks]
    if isinstance(config.segments, int) and channels:
        meaning = "the model's channel counts' common divisor"
        count_segments(config.segments, gcd(*channels), meaning)


def count_segments(segments: Segments, channels: int, meaning: str = "channels") -> int:
    """The number of segments of a spatial convolution.

    Args:
        segments: number of segments, or "per_channel".
        channels: number of channels of the spatial convolution.
        meaning: what `channels` counts, for the error.

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


class SqueezeExcite(nnx.Module):
    """A scale for every channel of an image from the means of all channels (Hu et al. 2018).

    Args:
        features: channels of the image.
        hidden: units of the ReLU layer between the means and the scales.
        dtype: type of the computation.
        rngs: keys of the initial values.
    """

    def __init__(self, features: int, hidden: int, *, dtype: str, rngs: nnx.Rngs) -> None:
        self.reduce = Dense(features, hidden, dtype=dtype, rngs=rngs)
        self.expand = Dense(hidden, features, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The image [batch, height, width, channels], each channel scaled by 0 to 1."""
        means = jnp.mean(x, axis=(1, 2))
        scales = jax.nn.sigmoid(self.expand(jax.nn.relu(self.reduce(means))))
        return x * scales[:, None, None, :]


@takes_settings(BlockConfig)
class SeparableConv(nnx.Module):
    """A spatial convolution over channel segments and a pointwise convolution, no bias.

    Two parameters: `spatial_kernel` [k, k, channels / segments, channels], where channels is
    `in_features` if the spatial convolution comes first and `out_features` otherwise, and
    `pointwise_kernel` [1, 1, in_features, out_features].

    Args:
        in_features: channels of the input.
        out_features: channels of the output.
        kernel_size: size of the spatial convolution, pixels, or (height, width); odd.
        strides: strides of the spatial convolution; the pointwise one has none in either order.
        padding: padding of the spatial convolution, "SAME", "VALID" or "SYMMETRIC" (PyTorch's).
        config: all settings at once, in place of `kernel_size` and `settings`.
        rngs: keys of the initial values; None: seed 0.
        **settings: fields of `BlockConfig`: `order`, `intermediate_activation`, `segments`, …

    Raises:
        InputError: a value that does not exist, or segments that do not divide the channels; with
            the nearest valid value.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: KernelSize = 3,
        *,
        strides: int = 1,
        padding: Padding = "SAME",
        config: BlockConfig | None = None,
        rngs: nnx.Rngs | None = None,
        **settings: Any,
    ) -> None:
        strides = require_count("strides", strides)
        require_choice("padding", padding, get_args(Padding))
        in_features = require_count("in_features", in_features)
        out_features = require_count("out_features", out_features)
        if config is None:
            given = {"kernel_size": kernel_size, **settings}
            config = from_keywords(BlockConfig, given, SeparableConv)
        require_block(config)
        self.config: BlockConfig = config
        self.in_features, self.strides, self.padding = in_features, strides, padding
        channels = config.spatial_channels(in_features, out_features)
        self.groups = count_segments(config.segments, channels)
        rngs = nnx.Rngs(0) if rngs is None else rngs
        shape = (*kernel_shape(config.kernel_size), channels // self.groups, channels)
        self.spatial_kernel = parameter(rngs, KERNEL_INITIALIZER, shape)
        self.pointwise_kernel = parameter(
            rngs, KERNEL_INITIALIZER, (1, 1, in_features, out_features)
        )
        if config.intermediate_norm:
            self.intermediate_norm = BatchNorm(channels, config.norm, rngs=rngs)
        if config.squeeze_excite_ratio:
            hidden = max(1, channels // config.squeeze_excite_ratio)
            self.squeeze_excite = SqueezeExcite(channels, hidden, dtype=config.dtype, rngs=rngs)
        if len(config.activations) > 1:
            self.activation_index = ActivationIndex(jnp.int32(0))

    def __call__(
        self, x: Float[Array | np.ndarray, "b h w c"], train: bool = False
    ) -> Float[Array, "b h2 w2 f"]:
        """Applies both operations: [b, h, w, in] -> [b, h2, w2, out].

        Args:
            x: the input.
            train: whether the optional normalization between the operations is in training.

        Raises:
            ValueError: `x` has another rank or number of channels.
        """
        x = ops.require_images("x", x).astype(self.config.dtype)
        if x.shape[-1] != self.in_features:
            raise ValueError(f"x must have {self.in_features} channels; got shape {x.shape}")
        first, second = self._spatial, self._pointwise
        if self.config.order == "pointwise_first":
            first, second = second, first
        x = first(x)
        if self.config.intermediate_norm:
            x = self.intermediate_norm(x, train)
        x = self._activate(x)
        if self.config.squeeze_excite_ratio:
            x = self.squeeze_excite(x)
        return second(x)

    def _activate(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        functions = tuple(ACTIVATIONS[name] for name in self.config.activations)
        if len(functions) == 1:
            return functions[0](x)
        return select_activation(functions, self.activation_index[...], x)

    def _spatial(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        kernel = self.spatial_kernel[...].astype(self.config.dtype)
        x, padding = pad_explicit(x, kernel.shape[:2], self.padding)
        if self.groups == x.shape[-1]:
            return ops.depthwise_conv2d(
                x,
                kernel,
                strides=self.strides,
                padding=padding,
                implementation=self.config.depthwise_implementation,
            )
        return ops.conv2d(
            x,
            kernel,
            strides=self.strides,
            padding=padding,
            groups=self.groups,
        )

    def _pointwise(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w f"]:
        kernel = self.pointwise_kernel[...].astype(x.dtype)
        return ops.pointwise_conv2d(x, kernel)


def build_block(
    config: BlockConfig,
    in_features: int,
    out_features: int,
    *,
    kernel_size: KernelSize | None = None,
    strides: int = 1,
    padding: Padding = "SAME",
    rngs: nnx.Rngs,
) -> SeparableConv:
    """A block of a model, built as its config says.

    Args:
        config: how every block of the model is built.
        in_features: channels of the input.
        out_features: channels of the output.
        kernel_size: kernel size that the model's table fixes for this block; None: the config's.
        strides: see `SeparableConv`.
        padding: see `SeparableConv`.
        rngs: keys of the initial values.
    """
    if kernel_size is not None:
        config = replace(config, kernel_size=kernel_size)
    return SeparableConv(
        in_features, out_features, config=config, strides=strides, padding=padding, rngs=rngs
    )
