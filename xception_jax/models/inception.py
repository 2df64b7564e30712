"""Inception: the modules of the paper's figures 1 to 4, and the whole of Inception V3.

"inception_v3" has the layout of `keras.applications.InceptionV3`, with 23,817,352 trainable
parameters. The paper's table 3 has 23,626,728: those of another version, which was not published.
As in the paper's experiments there is no auxiliary tower.
"""

from flax import nnx

from xception_jax.config.model import BlockConfig, NormConfig, Segments
from xception_jax.models.blocks import build_block
from xception_jax.models.tower_network import ConvUnit
from xception_jax.models.towers import (
    AveragePool,
    Fork,
    InceptionSpec,
    MaxPool,
    Towers,
    convolution,
)

# -- the paper's figures ---------------------------------------------------------------------------


def canonical_towers(features: int) -> Towers:
    """The towers of figure 1, the canonical module: all convolutions have equally many features.

    Args:
        features: features of each of the four towers; the module has four times as many.
    """
    point, spatial = convolution(features), convolution(features, 3, 3)
    return (point,), (point, spatial), (point, spatial, spatial), (AveragePool(), point)


def simplified_towers(count: int, features: int) -> Towers:
    """The towers of figure 2, the simplified module: a 1x1 and a 3x3 convolution each, no pool.

    Args:
        count: number of towers.
        features: features of each convolution.
    """
    return ((convolution(features), convolution(features, 3, 3)),) * count


def segmented_module(
    in_features: int, features: int, segments: Segments, norm: NormConfig, *, rngs: nnx.Rngs
) -> ConvUnit:
    """The module of figure 3: one large 1x1 convolution, then a 3x3 one over `segments`.

    It is strictly equivalent to `simplified_towers(segments, features // segments)`: each
    convolution is followed by batch normalization and ReLU, also the 1x1 one.

    Args:
        in_features: channels of the input.
        features: channels of both convolutions' outputs.
        segments: channel segments of the 3x3 convolution.
        norm: config of both batch normalizations.
        rngs: keys of the initial values.
    """
    block = BlockConfig(
        order="pointwise_first",
        intermediate_activation="relu",
        segments=segments,
        intermediate_norm=True,
        norm=norm,
    )
    return ConvUnit(build_block(block, in_features, features, rngs=rngs), norm, features, rngs=rngs)


def extreme_module(
    in_features: int, features: int, norm: NormConfig, *, rngs: nnx.Rngs
) -> ConvUnit:
    """The "extreme" module of figure 4: one segment per channel, ReLU after both operations."""
    return segmented_module(in_features, features, "per_channel", norm, rngs=rngs)


# -- whole models ----------------------------------------------------------------------------------


def _square(direct: int, five: tuple[int, int], double: tuple[int, int], pooled: int) -> Towers:
    """The towers on the largest images: one with a 5x5 convolution, one with two 3x3 ones."""
    return (
        (convolution(direct),),
        (convolution(five[0]), convolution(five[1], 5, 5)),
        (convolution(double[0]), convolution(double[1], 3, 3), convolution(double[1], 3, 3)),
        (AveragePool(), convolution(pooled)),
    )


def _factorized(narrow: int, wide: int, size: int = 7) -> Towers:
    """The towers on images of a middle size: convolutions along one dimension at a time."""
    across, down = (1, size), (size, 1)
    return (
        (convolution(wide),),
        (convolution(narrow), convolution(narrow, *across), convolution(wide, *down)),
        (
            convolution(narrow),
            convolution(narrow, *down),
            convolution(narrow, *across),
            convolution(narrow, *down),
            convolution(wide, *across),
        ),
        (AveragePool(), convolution(wide)),
    )


def _spread(direct: int, single: int, double: tuple[int, int], pooled: int) -> Towers:
    """The towers on the smallest images, which end in two convolutions side by side."""

    def ends(features: int) -> Fork:
        return Fork((convolution(features, 1, 3), convolution(features, 3, 1)))

    return (
        (convolution(direct),),
        (convolution(single), ends(single)),
        (convolution(double[0]), convolution(double[1], 3, 3), ends(double[1])),
        (AveragePool(), convolution(pooled)),
    )


# "small" and "tiny" are ours, for images of 28 to 64 pixels on small machines: modules of the same
# kinds, with about as many parameters as the Xception of that name, and padded throughout.
INCEPTIONS: dict[str, InceptionSpec] = {
    "inception_v3": InceptionSpec(
        stem=(
            convolution(32, 3, 3, 2, "VALID"),
            convolution(32, 3, 3, 1, "VALID"),
            convolution(64, 3, 3),
            MaxPool(padding="VALID"),
            convolution(80),
            convolution(192, 3, 3, 1, "VALID"),
            MaxPool(padding="VALID"),
        ),
        modules=(
            _square(64, (48, 64), (64, 96), 32),
            *(_square(64, (48, 64), (64, 96), 64),) * 2,
            (
                (convolution(384, 3, 3, 2, "VALID"),),
                (
                    convolution(64),
                    convolution(96, 3, 3),
                    convolution(96, 3, 3, 2, "VALID"),
                ),
                (MaxPool(padding="VALID"),),
            ),
            *(_factorized(narrow, 192) for narrow in (128, 160, 160, 192)),
            (
                (convolution(192), convolution(320, 3, 3, 2, "VALID")),
                (
                    convolution(192),
                    convolution(192, 1, 7),
                    convolution(192, 7, 1),
                    convolution(192, 3, 3, 2, "VALID"),
                ),
                (MaxPool(padding="VALID"),),
            ),
            *(_spread(320, 384, (448, 384), 192),) * 2,
        ),
    ),
    "inception_small": InceptionSpec(
        stem=(convolution(32, 3, 3), convolution(64, 3, 3), MaxPool()),
        modules=(
            *(_square(32, (32, 48), (32, 48), 32),) * 2,
            (
                (convolution(128, 3, 3, 2),),
                (convolution(48), convolution(64, 3, 3), convolution(64, 3, 3, 2)),
                (MaxPool(),),
            ),
            *(_factorized(64, 64, 5),) * 3,
            (
                (convolution(64), convolution(128, 3, 3, 2)),
                (convolution(64), convolution(64, 3, 3), convolution(64, 3, 3, 2)),
                (MaxPool(),),
            ),
            _spread(128, 144, (144, 144), 96),
        ),
    ),
    "inception_tiny": InceptionSpec(
        stem=(convolution(16, 3, 3, 2), convolution(32, 3, 3, 2)),
        modules=(
            _square(8, (8, 12), (8, 12), 8),
            ((convolution(24, 3, 3, 2),), (MaxPool(),)),
            _factorized(16, 24, 5),
            _spread(64, 48, (48, 48), 32),
        ),
    ),
}
