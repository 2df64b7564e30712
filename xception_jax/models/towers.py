"""Architectures of parallel towers of convolutions, as data: Inception's, and AlexNet's of one.

An architecture is a table of steps. Every convolution stands for one without bias, batch
normalization without scale, and a ReLU: `tower_network` builds them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from xception_jax.models.layers import Padding, padded_like
from xception_jax.models.network import BLOCK_SETTINGS, Width


@dataclass(frozen=True)
class Convolution:
    """A convolution, batch normalization and ReLU."""

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
    """Convolutions of the same image, their outputs concatenated."""

    branches: tuple[Convolution, ...]


Layer = Convolution | MaxPool | AveragePool | Fork
Tower = tuple[Layer, ...]
Towers = tuple[Tower, ...]


def convolution(
    features: int, height: int = 1, width: int = 1, strides: int = 1, padding: Padding = "SAME"
) -> Convolution:
    """A `Convolution` in as few words as a table wants."""
    return Convolution(features, (height, width), strides, padding)


@dataclass(frozen=True)
class InceptionSpec:
    """The stem, the modules, and what the head needs to know.

    Attributes:
        stem: one tower, never separable: it sees the image.
        modules: towers side by side, their outputs concatenated.
        fully_connected: units of the layers before the classifier.
        grid: parts in each direction that the last image is averaged over.
    """

    stem: Tower
    modules: tuple[Towers, ...]
    fully_connected: tuple[int, ...] = ()
    grid: int = 1

    def resized(self, width: Width, middle_modules: int | None) -> "InceptionSpec":  # noqa: ARG002
        """Every number of features times `width`; there is no flow of equal modules to lengthen."""

        def wide(tower: Tower) -> Tower:
            return tuple(_scaled(step, width) for step in tower)

        return InceptionSpec(
            wide(self.stem),
            tuple(tuple(map(wide, towers)) for towers in self.modules),
            tuple(width.of(units) for units in self.fully_connected),
            self.grid,
        )

    def unused(self, separable: bool) -> frozenset[str]:
        """Settings of blocks where there are none, and of what other families have."""
        unused = {"residual", "middle_modules", "rematerialize", "kernel_size"}
        strided = any(
            isinstance(step, Convolution | MaxPool)
            and padded_like("torch", step.padding, step.strides) != step.padding
            for step in self.steps()
        )
        if not strided:
            unused.add("padding")
        return frozenset(unused if separable else unused | BLOCK_SETTINGS)

    def steps(self) -> Iterator[Layer]:
        """All steps of the stem and the modules."""
        yield from self.stem
        for towers in self.modules:
            for tower in towers:
                yield from tower

    def separable_convolutions(self, in_channels: int) -> list[tuple[int, int]]:
        """(input, output) features of every spatial convolution of the modules."""
        found: list[tuple[int, int]] = []
        features = out_features(self.stem, in_channels)
        for towers in self.modules:
            for tower in towers:
                inside = features
                for step in tower:
                    branches = step.branches if isinstance(step, Fork) else (step,)
                    found += [
                        (inside, branch.features)
                        for branch in branches
                        if isinstance(branch, Convolution) and branch.kernel != (1, 1)
                    ]
                    inside = out_features((step,), inside)
            features = sum(out_features(tower, features) for tower in towers)
        return found

    def smallest_image(self) -> int:
        """Height and width of the smallest images, pixels: what unpadded windows leave one of."""
        size = 1
        for towers in (*reversed(self.modules), (self.stem,)):
            size = max(_in_size(tower, size) for tower in towers)
        return size


def _scaled(step: Layer, width: Width) -> Layer:
    if isinstance(step, Convolution):
        return replace(step, features=width.of(step.features))
    if isinstance(step, Fork):
        branches = (replace(b, features=width.of(b.features)) for b in step.branches)
        return Fork(tuple(branches))
    return step


def out_features(tower: Tower, features: int) -> int:
    """Channels that `tower` makes of `features` channels."""
    for step in tower:
        if isinstance(step, Convolution):
            features = step.features
        elif isinstance(step, Fork):
            features = sum(branch.features for branch in step.branches)
    return features


def _in_size(tower: Tower, size: int) -> int:
    """The smallest image of which `tower` makes one of `size`."""
    for step in reversed(tower):
        if isinstance(step, Convolution | MaxPool):
            window = max(step.kernel) if isinstance(step, Convolution) else 3
            size = (size - 1) * step.strides + (window if step.padding == "VALID" else 1)
    return size
