"""Xception (paper section 3, figure 5): architectures as tables, and the model of a table."""

from dataclasses import dataclass, replace
from itertools import pairwise

import jax
from flax import nnx
from jaxtyping import Array, Float

from xception_jax import ops
from xception_jax.config.model import ModelConfig
from xception_jax.models.blocks import build_block, require_segments
from xception_jax.models.layers import BatchNorm, Conv, padding_in_style, require_count
from xception_jax.models.network import Network, Width
from xception_jax.models.pooling import max_pool
from xception_jax.models.rematerialization import rematerialized


@dataclass(frozen=True)
class StemConv:
    """A regular 3x3 convolution with batch normalization and ReLU."""

    features: int
    strides: int = 1
    padding: ops.Padding = "SAME"


@dataclass(frozen=True)
class Stage:
    """A module of separable convolutions, each followed by batch normalization.

    Attributes:
        features: output channels of the separable convolutions, in order.
        pool: whether the module ends with a 3x3 max-pool of stride 2.
        shortcut: "projection" (1x1 convolution of the pool's stride), "identity" or "none".
        activation: ReLU "before" each separable convolution or "after" its normalization.
        first_activation: whether there is a ReLU before the first separable convolution.
    """

    features: tuple[int, ...]
    pool: bool = False
    shortcut: str = "none"
    activation: str = "before"
    first_activation: bool = True


@dataclass(frozen=True)
class XceptionSpec:
    """An architecture: the stem, then the entry, the (repeated) middle and the exit flow."""

    stem: tuple[StemConv, ...]
    entry: tuple[Stage, ...]
    middle: Stage
    middle_modules: int
    exit: tuple[Stage, ...]

    def resized(self, width: Width, middle_modules: int | None) -> "XceptionSpec":
        """The architecture with every number of features times `width`.

        Args:
            width: width of the model.
            middle_modules: number of middle modules; None: the architecture's own.

        Raises:
            InputError: the number of middle modules is not valid.
        """

        def scaled(stage: Stage) -> Stage:
            return replace(stage, features=tuple(width.of(f) for f in stage.features))

        if middle_modules is None:
            middle_modules = self.middle_modules
        require_count("model.middle_modules", middle_modules, least=0)
        return XceptionSpec(
            tuple(replace(conv, features=width.of(conv.features)) for conv in self.stem),
            tuple(map(scaled, self.entry)),
            scaled(self.middle),
            middle_modules,
            tuple(map(scaled, self.exit)),
        )

    def unused(self, separable: bool) -> frozenset[str]:  # noqa: ARG002 - unused itself
        """The names of settings that change nothing for this architecture."""
        residual = any(stage.shortcut != "none" for stage in (*self.stages(), self.middle))
        return frozenset({"separable"} | (set() if residual else {"residual"}))

    def stages(self) -> tuple[Stage, ...]:
        """All modules but the stem, in order."""
        return *self.entry, *(self.middle,) * self.middle_modules, *self.exit

    def separable_convolutions(self) -> list[tuple[int, int]]:
        """(input, output) features of every separable convolution, in order."""
        features = [self.stem[-1].features]
        features += [out for stage in self.stages() for out in stage.features]
        return list(pairwise(features))

    def smallest_image(self) -> int:
        """The height and width, pixels, of the smallest images that leave a feature map.

        'SAME' convolutions and pools leave a pixel of any image.
        """
        size = 1
        for conv in reversed(self.stem):
            window = 3 if conv.padding == "VALID" else 1
            size = (size - 1) * conv.strides + window
        return size


def _down(*features: int, first_activation: bool = True) -> Stage:
    return Stage(features, True, "projection", first_activation=first_activation)


# "tiny" and "small" are ours: the same flows for images of 28 to 64 pixels on small machines.
XCEPTIONS: dict[str, XceptionSpec] = {
    "xception": XceptionSpec(
        stem=(StemConv(32, strides=2, padding="VALID"), StemConv(64, padding="VALID")),
        entry=(_down(128, 128, first_activation=False), _down(256, 256), _down(728, 728)),
        middle=Stage((728, 728, 728), shortcut="identity"),
        middle_modules=8,
        exit=(_down(728, 1024), Stage((1536, 2048), activation="after")),
    ),
    "xception_small": XceptionSpec(
        stem=(StemConv(32), StemConv(64)),
        entry=(_down(128, 128, first_activation=False), _down(256, 256)),
        middle=Stage((256, 256, 256), shortcut="identity"),
        middle_modules=4,
        exit=(_down(256, 384), Stage((512, 768), activation="after")),
    ),
    "xception_tiny": XceptionSpec(
        stem=(StemConv(16, strides=2), StemConv(32, strides=2)),
        entry=(_down(64, 64, first_activation=False),),
        middle=Stage((64, 64, 64), shortcut="identity"),
        middle_modules=2,
        exit=(_down(64, 96), Stage((128, 192), activation="after")),
    ),
}


class XceptionModule(nnx.Module):
    """The module of a `Stage`: separable convolutions, perhaps a pool, perhaps a shortcut.

    Args:
        in_features: channels of the input.
        stage: the stage.
        config: config of the model.
        rngs: keys of the initial values.
    """

    def __init__(
        self, in_features: int, stage: Stage, config: ModelConfig, *, rngs: nnx.Rngs
    ) -> None:
        self.stage, self.shortcut = stage, stage.shortcut if config.residual else "none"
        self.pool_padding = padding_in_style(config.padding, "SAME", strides=2)
        block, widths = config.block, (in_features, *stage.features)
        self.convolutions = nnx.List(
            build_block(block, before, after, rngs=rngs) for before, after in pairwise(widths)
        )
        self.norms = nnx.List(
            BatchNorm(features, block.norm, rngs=rngs) for features in stage.features
        )
        if self.shortcut == "projection":
            strides, out = (2 if stage.pool else 1), widths[-1]
            self.projection = Conv(
                in_features,
                out,
                1,
                strides=strides,
                dtype=block.dtype,
                rngs=rngs,
            )
            self.projection_norm = BatchNorm(out, block.norm, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 f"]:
        """Applies the stage: [b, h, w, in] -> [b, h2, w2, out]."""
        inputs, stage = x, self.stage
        for index, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            if stage.activation == "before" and (index > 0 or stage.first_activation):
                x = jax.nn.relu(x)
            x = convolution(x, train)
            last = index == len(self.norms) - 1
            pools = stage.pool and last and self.pool_padding == "SAME"
            x = norm(x, train, max_pool="SAME" if pools else None)
            # After the pool instead of before it: both are monotone, so the values are the same.
            if stage.activation == "after":
                x = jax.nn.relu(x)
        if stage.pool and self.pool_padding != "SAME":
            x = max_pool(x, padding=self.pool_padding)
        if self.shortcut == "identity":
            x = x + inputs
        if self.shortcut == "projection":
            x = x + self.projection_norm(self.projection(inputs), train)
        return x


class Xception(Network):
    """The model of an `XceptionSpec`; build one with `create_model`.

    Args:
        table: the architecture.
        config: config of the model.
        rngs: keys of the initial values.
    """

    def __init__(self, table: XceptionSpec, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        block = config.block
        require_segments(block, table.separable_convolutions())
        stem = list(pairwise((config.in_channels, *(conv.features for conv in table.stem))))
        self.stem: nnx.List[Conv] = nnx.List(
            Conv(
                before,
                after,
                strides=conv.strides,
                padding=padding_in_style(config.padding, conv.padding, conv.strides),
                dtype=block.dtype,
                rngs=rngs,
            )
            for (before, after), conv in zip(stem, table.stem, strict=True)
        )
        self.stem_norms: nnx.List[BatchNorm] = nnx.List(
            BatchNorm(after, block.norm, rngs=rngs) for _, after in stem
        )
        self.rematerialize = config.rematerialize
        features = stem[-1][1]

        def flow(*stages: Stage) -> nnx.List[XceptionModule]:
            nonlocal features
            modules: nnx.List[XceptionModule] = nnx.List()
            for stage in stages:
                modules.append(XceptionModule(features, stage, config, rngs=rngs))
                features = stage.features[-1]
            return modules

        self.entry = flow(*table.entry)
        self.middle = flow(*(table.middle,) * table.middle_modules)
        self.exit = flow(*table.exit)
        super().__init__(features, config, smallest_image=table.smallest_image(), rngs=rngs)

    def features(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 f"]:
        """The last feature map, before pooling."""
        for conv, norm in zip(self.stem, self.stem_norms, strict=True):
            x = jax.nn.relu(norm(conv(x), train))
        x = self._through(self.entry, x, train)
        x = self._through(self.middle, x, train)
        return self._through(self.exit, x, train)

    def _through(
        self, flow: nnx.List[XceptionModule], x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h2 w2 f"]:
        for module in flow:
            if self.rematerialize and train:
                x = rematerialized(module, x, train)
            else:
                x = module(x, train)
        return x
