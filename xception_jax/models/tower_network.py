"""Models of `towers` tables: modules of towers side by side.

With `separable`, the spatial convolutions of the modules (not of the stem) are separable ones, with
the block's settings, but with the kernel size (also 1x7 and 7x1), the stride and the padding that
the table says: these are the spatial convolution's, in either order. 1x1 convolutions stay what
they are.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from xception_jax.config.model import ModelConfig, NormConfig
from xception_jax.models.blocks import SeparableConv, build_block, require_segments
from xception_jax.models.layers import BatchNorm, Conv, padded_like
from xception_jax.models.network import Network
from xception_jax.models.pooling import average_pool, max_pool
from xception_jax.models.towers import (
    AveragePool,
    Convolution,
    Fork,
    InceptionSpec,
    Layer,
    MaxPool,
    Tower,
    Towers,
    out_features,
)


class ConvUnit(nnx.Module):
    """A convolution of whatever kind, batch normalization and ReLU."""

    def __init__(
        self, convolution: Conv | SeparableConv, norm: NormConfig, features: int, *, rngs: nnx.Rngs
    ) -> None:
        self.convolution = convolution
        self.norm: BatchNorm = BatchNorm(features, norm, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 f"]:
        """[batch, height, width, in] -> [batch, new height, new width, out]."""
        if isinstance(self.convolution, SeparableConv):
            x = self.convolution(x, train)
        else:
            x = self.convolution(x)
        return jax.nn.relu(self.norm(x, train))


class PoolUnit(nnx.Module):
    """A `MaxPool` or an `AveragePool`."""

    def __init__(self, step: MaxPool | AveragePool) -> None:
        self.step = step

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c"]:  # noqa: ARG002
        """[batch, height, width, channels] -> [batch, new height, new width, channels]."""
        if isinstance(self.step, AveragePool):
            return average_pool(x)
        return max_pool(x, strides=self.step.strides, padding=self.step.padding)


class ForkUnit(nnx.Module):
    """A `Fork`."""

    def __init__(self, branches: list[ConvUnit]) -> None:
        self.branches: nnx.List[ConvUnit] = nnx.List(branches)

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w f"]:
        """[batch, height, width, in] -> [batch, height, width, sum of the branches' features]."""
        return jnp.concatenate([branch(x, train) for branch in self.branches], axis=-1)


Unit = ConvUnit | PoolUnit | ForkUnit


def build_unit(
    step: Layer, in_features: int, config: ModelConfig, *, separable: bool, rngs: nnx.Rngs
) -> Unit:
    """The module of one step of a table."""
    if isinstance(step, Fork):
        return ForkUnit(
            [_conv_unit(branch, in_features, config, separable, rngs) for branch in step.branches]
        )
    if isinstance(step, Convolution):
        return _conv_unit(step, in_features, config, separable, rngs)
    if isinstance(step, MaxPool):
        step = replace(step, padding=padded_like(config.padding, step.padding, step.strides))
    return PoolUnit(step)


def _conv_unit(
    step: Convolution, in_features: int, config: ModelConfig, separable: bool, rngs: nnx.Rngs
) -> ConvUnit:
    block = replace(config.block, norm=replace(config.block.norm, scale=False))
    padding, strides = padded_like(config.padding, step.padding, step.strides), step.strides
    spatial: Conv | SeparableConv
    if separable and step.kernel != (1, 1):
        spatial = build_block(
            block,
            in_features,
            step.features,
            kernel_size=step.kernel,
            strides=strides,
            padding=padding,
            rngs=rngs,
        )
    else:
        spatial = Conv(
            in_features,
            step.features,
            step.kernel,
            strides=strides,
            padding=padding,
            dtype=block.dtype,
            rngs=rngs,
        )
    return ConvUnit(spatial, block.norm, step.features, rngs=rngs)


class TowerModule(nnx.Module):
    """Towers side by side on one image, their outputs concatenated: an Inception module.

    Args:
        in_features: channels of the image.
        towers: what each of them is made of.
        config: the model's settings.
        rngs: for the initial values.
    """

    def __init__(
        self, in_features: int, towers: Towers, config: ModelConfig, *, rngs: nnx.Rngs
    ) -> None:
        self.towers: nnx.List[nnx.List[Unit]] = nnx.List(
            _units(tower, in_features, config, config.separable, rngs) for tower in towers
        )

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 f"]:
        """[batch, height, width, in] -> [batch, new height, new width, sum of features]."""
        ends = []
        for tower in self.towers:
            end = x
            for unit in tower:
                end = unit(end, train)
            ends.append(end)
        return jnp.concatenate(ends, axis=-1)


def _units(
    tower: Tower, features: int, config: ModelConfig, separable: bool, rngs: nnx.Rngs
) -> nnx.List[Unit]:
    units: nnx.List[Unit] = nnx.List()
    for step in tower:
        units.append(build_unit(step, features, config, separable=separable, rngs=rngs))
        features = out_features((step,), features)
    return units


class InceptionNetwork(Network):
    """Images to logits, by a `InceptionSpec`. Build one with `create_model`."""

    def __init__(self, table: InceptionSpec, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        if config.separable:
            require_segments(config.block, table.separable_convolutions(config.in_channels))
        self.stem = _units(table.stem, config.in_channels, config, False, rngs)
        features = out_features(table.stem, config.in_channels)
        self.modules: nnx.List[TowerModule] = nnx.List()
        for towers in table.modules:
            self.modules.append(TowerModule(features, towers, config, rngs=rngs))
            features = sum(out_features(tower, features) for tower in towers)
        super().__init__(
            features,
            config,
            smallest_image=table.smallest_image(),
            fully_connected=table.fully_connected,
            grid=table.grid,
            rngs=rngs,
        )

    def features(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 f"]:
        """The image the last module makes, before pooling."""
        for unit in self.stem:
            x = unit(x, train)
        for module in self.modules:
            x = module(x, train)
        return x
