"""Architectures of parallel towers of convolutions, as data: Inception's, and AlexNet's of one.

An architecture is a table of layers. Every convolution in it stands for a convolution without bias,
batch normalization without scale, and a ReLU: `tower_network` builds them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from xception_jax.config.fields import direct_settings
from xception_jax.config.model import BlockConfig
from xception_jax.models.layers import Padding, padding_in_style
from xception_jax.models.network import Width

# All of a block's own settings but the type of the computation, which all layers share.
_BLOCK_SETTINGS = frozenset(direct_settings(BlockConfig)) - {"dtype"}


@dataclass(frozen=True)
class Convolution:
    """A convolution with batch normalization and ReLU."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    strides: int = 1
    padding: Padding = "SAME"


@dataclass(frozen=True)
class MaxPool:
    """A 3x3 max-pool."""

    strides: int = 2
    padding: Padding = "SAME"


@dataclass(frozen=True)
class AveragePool:
    """A 3x3 mean of stride 1."""


@dataclass(frozen=True)
class Fork:
    """Convolutions of the same input, their outputs concatenated."""

    branches: tuple[Convolution, ...]


Layer = Convolution | MaxPool | AveragePool | Fork
Tower = tuple[Layer, ...]
Towers = tuple[Tower, ...]


def convolution(
    features: int, height: int = 1, width: int = 1, strides: int = 1, padding: Padding = "SAME"
) -> Convolution:
    """A `Convolution`, written short for the tables."""
    return Convolution(features, (height, width), strides, padding)


@dataclass(frozen=True)
class InceptionSpec:
    """An architecture of towers: the stem, the modules, and the sizes of the head.

    Attributes:
        stem: one tower, never separable: it sees the image.
        modules: for each module its towers, side by side, their outputs concatenated.
        fully_connected: units of the layers before the classifier.
        grid: number of parts in each direction over which the last feature map is averaged.
    """

    stem: Tower
    modules: tuple[Towers, ...]
    fully_connected: tuple[int, ...] = ()
    grid: int = 1

    def resized(self, width: Width, middle_modules: int | None) -> "InceptionSpec":  # noqa: ARG002
        """The architecture with every number of features times `width`.

        `middle_modules` changes nothing: there is no flow of equal modules to lengthen.
        """

        def scaled(tower: Tower) -> Tower:
            return tuple(_scaled(layer, width) for layer in tower)

        return InceptionSpec(
            scaled(self.stem),
            tuple(tuple(map(scaled, towers)) for towers in self.modules),
            tuple(width.of(units) for units in self.fully_connected),
            self.grid,
        )

    def unused(self, separable: bool) -> frozenset[str]:
        """The names of settings that change nothing for this architecture.

        Args:
            separable: whether the model has blocks.
        """
        unused = {"residual", "middle_modules", "rematerialize", "kernel_size"}
        styles_differ = any(
            isinstance(layer, Convolution | MaxPool)
            and padding_in_style("torch", layer.padding, layer.strides) != layer.padding
            for layer in self.layers()
        )
        if not styles_differ:
            unused.add("padding")
        return frozenset(unused if separable else unused | _BLOCK_SETTINGS)

    def layers(self) -> Iterator[Layer]:
        """All layers of the stem and the modules."""
        yield from self.stem
        for towers in self.modules:
            for tower in towers:
                yield from tower

    def separable_convolutions(self, in_channels: int) -> list[tuple[int, int]]:
        """(input, output) features of every spatial convolution of the modules.

        Args:
            in_channels: channels of the images.
        """
        pairs: list[tuple[int, int]] = []
        features = out_features(self.stem, in_channels)
        for towers in self.modules:
            for tower in towers:
                in_tower = features
                for layer in tower:
                    branches = layer.branches if isinstance(layer, Fork) else (layer,)
                    pairs += [
                        (in_tower, branch.features)
                        for branch in branches
                        if isinstance(branch, Convolution) and branch.kernel != (1, 1)
                    ]
                    in_tower = out_features((layer,), in_tower)
            features = sum(out_features(tower, features) for tower in towers)
        return pairs

    def smallest_image(self) -> int:
        """The height and width, pixels, of the smallest images that leave a feature map."""
        size = 1
        for towers in (*reversed(self.modules), (self.stem,)):
            size = max(_in_size(tower, size) for tower in towers)
        return size


def _scaled(layer: Layer, width: Width) -> Layer:
    if isinstance(layer, Convolution):
        return replace(layer, features=width.of(layer.features))
    if isinstance(layer, Fork):
        branches = (replace(b, features=width.of(b.features)) for b in layer.branches)
        return Fork(tuple(branches))
    return layer


def out_features(tower: Tower, features: int) -> int:
    """The number of channels of a tower's output.

    Args:
        tower: layers of the tower.
        features: channels of its input.
    """
    for layer in tower:
        if isinstance(layer, Convolution):
            features = layer.features
        elif isinstance(layer, Fork):
            features = sum(branch.features for branch in layer.branches)
    return features


def _in_size(tower: Tower, size: int) -> int:
    """The height and width of the smallest input for which a tower's output has `size`."""
    for layer in reversed(tower):
        if isinstance(layer, Convolution | MaxPool):
            window = max(layer.kernel) if isinstance(layer, Convolution) else 3
            size = (size - 1) * layer.strides + (window if layer.padding == "VALID" else 1)
    return size
