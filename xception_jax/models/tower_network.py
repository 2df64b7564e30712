"""Models that are built from the tables of `towers`: modules of towers side by side.

With `separable`, the spatial convolutions of the modules (not of the stem) are separable ones with
the block's settings. Kernel size (also 1x7 and 7x1), stride and padding are those of the table, and
apply to the spatial convolution in either order. 1x1 convolutions stay as they are.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from xception_jax.config.model import ModelConfig, NormConfig
from xception_jax.models.blocks import SeparableConv, build_block, require_segments
from xception_jax.models.layers import BatchNorm, Conv, padding_in_style
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
    """A regular or separable convolution, batch normalization and ReLU."""

    def __init__(
        self, convolution: Conv | SeparableConv, norm: NormConfig, features: int, *, rngs: nnx.Rngs
    ) -> None:
        self.convolution = convolution
        self.norm: BatchNorm = BatchNorm(features, norm, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 f"]:
        """Applies all three: [b, h, w, in] -> [b, h2, w2, out]."""
        if isinstance(self.convolution, SeparableConv):
            x = self.convolution(x, train)
        else:
            x = self.convolution(x)
        return jax.nn.relu(self.norm(x, train))


class PoolUnit(nnx.Module):
    """The module of a `MaxPool` or an `AveragePool`."""

    def __init__(self, layer: MaxPool | AveragePool) -> None:
        self.layer = layer

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c"]:  # noqa: ARG002
        """Pools: [b, h, w, channels] -> [b, h2, w2, channels]."""
        if isinstance(self.layer, AveragePool):
            return average_pool(x)
        return max_pool(x, strides=self.layer.strides, padding=self.layer.padding)


class ForkUnit(nnx.Module):
    """The module of a `Fork`: its branches' outputs are concatenated."""

    def __init__(self, branches: list[ConvUnit]) -> None:
        self.branches: nnx.List[ConvUnit] = nnx.List(branches)

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w f"]:
        """Applies all branches: [b, h, w, in] -> [b, h, w, sum of features]."""
        return jnp.concatenate([branch(x, train) for branch in self.branches], axis=-1)


Unit = ConvUnit | PoolUnit | ForkUnit


def build_unit(
    layer: Layer, in_features: int, config: ModelConfig, *, separable: bool, rngs: nnx.Rngs
) -> Unit:
    """The module of one layer of a table.

    Args:
        layer: the layer.
        in_features: channels of its input.
        config: config of the model.
        separable: whether a spatial convolution is a separable one.
        rngs: keys of the initial values.
    """
    if isinstance(layer, Fork):
        return ForkUnit(
            [_conv_unit(branch, in_features, config, separable, rngs) for branch in layer.branches]
        )
    if isinstance(layer, Convolution):
        return _conv_unit(layer, in_features, config, separable, rngs)
    if isinstance(layer, MaxPool):
        padding = padding_in_style(config.padding, layer.padding, layer.strides)
        layer = replace(layer, padding=padding)
    return PoolUnit(layer)


def _conv_unit(
    layer: Convolution, in_features: int, config: ModelConfig, separable: bool, rngs: nnx.Rngs
) -> ConvUnit:
    block = replace(config.block, norm=replace(config.block.norm, scale=False))
    padding, strides = padding_in_style(config.padding, layer.padding, layer.strides), layer.strides
    convolution: Conv | SeparableConv
    if separable and layer.kernel != (1, 1):
        convolution = build_block(
            block,
            in_features,
            layer.features,
            kernel_size=layer.kernel,
            strides=strides,
            padding=padding,
            rngs=rngs,
        )
    else:
        convolution = Conv(
            in_features,
            layer.features,
            layer.kernel,
            strides=strides,
            padding=padding,
            dtype=block.dtype,
            rngs=rngs,
        )
    return ConvUnit(convolution, block.norm, layer.features, rngs=rngs)


class TowerModule(nnx.Module):
    """An Inception module: towers side by side on one image, their outputs concatenated.

    Args:
        in_features: channels of the image.
        towers: the layers of each tower.
        config: config of the model.
        rngs: keys of the initial values.
    """

    def __init__(
        self, in_features: int, towers: Towers, config: ModelConfig, *, rngs: nnx.Rngs
    ) -> None:
        self.towers: nnx.List[nnx.List[Unit]] = nnx.List(
            _units(tower, in_features, config, config.separable, rngs) for tower in towers
        )

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 f"]:
        """Applies all towers: [b, h, w, in] -> [b, h2, w2, sum of features]."""
        outputs = []
        for tower in self.towers:
            output = x
            for unit in tower:
                output = unit(output, train)
            outputs.append(output)
        return jnp.concatenate(outputs, axis=-1)


def _units(
    tower: Tower, features: int, config: ModelConfig, separable: bool, rngs: nnx.Rngs
) -> nnx.List[Unit]:
    units: nnx.List[Unit] = nnx.List()
    for layer in tower:
        units.append(build_unit(layer, features, config, separable=separable, rngs=rngs))
        features = out_features((layer,), features)
    return units


class InceptionNetwork(Network):
    """The model of an `InceptionSpec`; build one with `create_model`.

    Args:
        table: the architecture.
        config: config of the model.
        rngs: keys of the initial values.
    """

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
        """The last feature map, before pooling."""
        for unit in self.stem:
            x = unit(x, train)
        for module in self.modules:
            x = module(x, train)
        return x
