"""The project's models as plain data: what the peers build, and the shapes of their operations.

Taken from the table that the project's own models are built from; nothing is typed in twice.
"""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from math import ceil
from typing import Any, NamedTuple

from xception_jax.models.xception import XCEPTIONS, XceptionSpec

Architecture = dict[str, Any]


def architecture(
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    norm_momentum: float = 0.99,
    norm_epsilon: float = 1e-3,
    intermediate_activation: str = "none",
) -> Architecture:
    """A member of the Xception family as JSON.

    `stem` is a list of `StemConv` and `stages` one of `Stage` (see `xception_jax.models.xception`),
    the middle flow written out.
    """
    flows = XCEPTIONS[name]
    return {
        "name": name,
        "num_classes": num_classes,
        "in_channels": in_channels,
        "norm_momentum": norm_momentum,
        "norm_epsilon": norm_epsilon,
        "intermediate_activation": intermediate_activation,
        "stem": [asdict(conv) for conv in flows.stem],
        "stages": [asdict(stage) for stage in flows.stages()],
    }


def our_path(name: str, path: str) -> str:
    """`"stages/3/norms/0/scale"` of a peer -> where it lies in our model, "middle/0/norms/0/scale".

    Args:
        name: of the model.
        path: of an array of a peer; outside `stages` it is ours already.
    """
    head, _, rest = path.partition("/")
    if head != "stages":
        return path
    number, _, rest = rest.partition("/")
    index = int(number)
    flows = XCEPTIONS[name]
    for flow, length in (("entry", len(flows.entry)), ("middle", flows.middle_modules)):
        if index < length:
            return f"{flow}/{index}/{rest}"
        index -= length
    return f"exit/{index}/{rest}"


class Operation(NamedTuple):
    """One operation of a model on one image; `features` is that of its output."""

    kind: str
    size: int
    channels: int
    features: int
    strides: int = 1
    padding: str = "SAME"


def operations(name: str, size: int, in_channels: int = 3) -> list[Operation]:
    """Every different operation of a model on images of `size` pixels, in order."""
    return list(dict.fromkeys(_operations(XCEPTIONS[name], size, in_channels)))


def _operations(flows: XceptionSpec, size: int, channels: int) -> Iterator[Operation]:
    for conv in flows.stem:
        yield Operation("conv", size, channels, conv.features, conv.strides, conv.padding)
        size = ceil((size - (2 if conv.padding == "VALID" else 0)) / conv.strides)
        channels = conv.features
        yield Operation("batch_norm", size, channels, channels)
    for stage in flows.stages():
        for before, after in pairwise((channels, *stage.features)):
            yield Operation("depthwise", size, before, before)
            yield Operation("pointwise", size, before, after)
            yield Operation("batch_norm", size, after, after)
        if stage.shortcut == "projection":
            strides = 2 if stage.pool else 1
            yield Operation("pointwise", size, channels, stage.features[-1], strides)
        channels = stage.features[-1]
        if stage.pool:
            yield Operation("max_pool", size, channels, channels, 2)
            size = ceil(size / 2)
