"""The project's models as plain data: lists of layers, which the peers build.

Taken from the tables that the project's own models are built from; nothing is typed in twice. A
layer is a dictionary; its `kind` says what else is in it:

- "conv": `path` of its kernel in our model, `inputs`, `features`, `kernel` (height, width),
  `strides`, `padding`, `groups`; no bias.
- "norm": `path`, `features`, `scale` (whether there is one).
- "activation": its `name` in `jax.nn`.
- "max_pool" (3x3): `strides`, `padding`. "average_pool" (3x3, stride 1): nothing.
- "parallel": `branches`, each a list of layers on the same input; `join`: "sum" or "concatenate".
- "mean": over `grid` x `grid` parts of the image, to one row of features.
- "dense": `path`, `inputs`, `features`. "dropout": its `rate`.

The padding is "SAME" or "VALID". With a stride, PyTorch's "SAME" pads equally on both sides, where
TensorFlow's and Flax's pads the odd pixel at the end (`model.padding` of our models).
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import ceil
from typing import Any, NamedTuple

from xception_jax.config.model import ModelConfig
from xception_jax.models.blocks import count_segments
from xception_jax.models.layers import kernel_shape
from xception_jax.models.registry import model_config, resized_table
from xception_jax.models.towers import (
    AveragePool,
    Convolution,
    Fork,
    InceptionSpec,
    MaxPool,
    out_features,
)
from xception_jax.models.towers import Layer as TowerLayer
from xception_jax.models.xception import Stage, XceptionSpec

Architecture = dict[str, Any]
Layer = dict[str, Any]

RELU: Layer = {"kind": "activation", "name": "relu"}


def architecture(name: str, **settings: Any) -> Architecture:
    """A model of the registry as JSON: `layers`, and what holds for all of them.

    Args:
        name: of the model.
        **settings: as `create_model` takes them; without dropout unless it is among them.
    """
    return describe(model_config(name, **{"dropout": 0.0, **settings}))


def describe(
    config: ModelConfig, *, num_classes: int | None = None, in_channels: int | None = None
) -> Architecture:
    """The model of a config as JSON: see `architecture`.

    Args:
        config: of the model.
        num_classes: logits, which a run has from its data set; None: the config's.
        in_channels: channels of the images, likewise.

    Raises:
        ValueError: a setting that the peers do not have.
    """
    if config.block.squeeze_excite_ratio:
        raise ValueError("the peers have no squeeze-and-excitation")
    num_classes, in_channels = num_classes or config.num_classes, in_channels or config.in_channels
    config = replace(config, num_classes=num_classes, in_channels=in_channels)
    table = resized_table(config)
    fully_connected: tuple[int, ...] = ()
    grid = 1
    if isinstance(table, XceptionSpec):
        layers, features = _xception(table, config)
    else:
        layers, features = _towers(table, config)
        fully_connected, grid = table.fully_connected, table.grid
    if config.fully_connected is not None:
        fully_connected = config.fully_connected
    layers.append({"kind": "mean", "grid": grid})
    widths = (features * grid * grid, *fully_connected)
    for index, (before, after) in enumerate(pairwise(widths)):
        layers += [_dense(f"fully_connected/{index}", before, after), RELU]
    if config.dropout:
        layers.append({"kind": "dropout", "rate": config.dropout})
    layers.append(_dense("classifier", widths[-1], config.num_classes))
    return {
        "in_channels": config.in_channels,
        "num_classes": config.num_classes,
        "norm_momentum": config.block.norm.momentum,
        "norm_epsilon": config.block.norm.epsilon,
        "layers": layers,
    }


def _dense(path: str, before: int, after: int) -> Layer:
    return {"kind": "dense", "path": path, "inputs": before, "features": after}


def _conv(
    path: str,
    before: int,
    after: int,
    kernel: tuple[int, int] = (1, 1),
    *,
    strides: int = 1,
    padding: str = "SAME",
    groups: int = 1,
) -> Layer:
    return {
        "kind": "conv",
        "path": path,
        "inputs": before,
        "features": after,
        "kernel": list(kernel),
        "strides": strides,
        "padding": padding,
        "groups": groups,
    }


def _norm(path: str, features: int, *, scale: bool = True) -> Layer:
    return {"kind": "norm", "path": path, "features": features, "scale": scale}


def _block(
    path: str,
    before: int,
    after: int,
    config: ModelConfig,
    kernel: tuple[int, int] | None = None,
    *,
    strides: int = 1,
    padding: str = "SAME",
    scale: bool = True,
) -> list[Layer]:
    """The layers of a separable convolution."""
    block = config.block
    channels = block.spatial_channels(before, after)
    spatial = _conv(
        f"{path}/spatial_kernel",
        channels,
        channels,
        kernel or kernel_shape(block.kernel_size),
        strides=strides,
        padding=padding,
        groups=count_segments(block.segments, channels),
    )
    first, last = spatial, _conv(f"{path}/pointwise_kernel", before, after)
    if block.order == "pointwise_first":
        first, last = last, first
    between: list[Layer] = []
    if block.intermediate_norm:
        between.append(_norm(f"{path}/intermediate_norm", channels, scale=scale))
    if block.intermediate_activation != "none":
        between.append({"kind": "activation", "name": block.intermediate_activation})
    return [first, *between, last]


# -- Xception --------------------------------------------------------------------------------------


def _xception(table: XceptionSpec, config: ModelConfig) -> tuple[list[Layer], int]:
    layers: list[Layer] = []
    features = config.in_channels
    for index, stem in enumerate(table.stem):
        padding: dict[str, Any] = {"strides": stem.strides, "padding": stem.padding}
        layers.append(_conv(f"stem/{index}/kernel", features, stem.features, (3, 3), **padding))
        features = stem.features
        layers += [_norm(f"stem_norms/{index}", features), RELU]
    middle = (table.middle,) * table.middle_modules
    for flow, stages in (("entry", table.entry), ("middle", middle), ("exit", table.exit)):
        for index, stage in enumerate(stages):
            layers += _stage(f"{flow}/{index}", features, stage, config)
            features = stage.features[-1]
    return layers, features


def _stage(path: str, inputs: int, stage: Stage, config: ModelConfig) -> list[Layer]:
    layers: list[Layer] = []
    for index, (before, after) in enumerate(pairwise((inputs, *stage.features))):
        if stage.activation == "before" and (index > 0 or stage.first_activation):
            layers.append(RELU)
        layers += _block(f"{path}/convolutions/{index}", before, after, config)
        layers.append(_norm(f"{path}/norms/{index}", after))
        if stage.activation == "after":
            layers.append(RELU)
    if stage.pool:
        layers.append({"kind": "max_pool", "strides": 2, "padding": "SAME"})
    if stage.shortcut == "none" or not config.residual:
        return layers
    shortcut: list[Layer] = []
    if stage.shortcut == "projection":
        out, strides = stage.features[-1], 2 if stage.pool else 1
        shortcut.append(_conv(f"{path}/projection/kernel", inputs, out, strides=strides))
        shortcut.append(_norm(f"{path}/projection_norm", out))
    return [_parallel("sum", layers, shortcut)]


def _parallel(join: str, *branches: list[Layer]) -> Layer:
    return {"kind": "parallel", "branches": list(branches), "join": join}


# -- towers ----------------------------------------------------------------------------------------


def _towers(table: InceptionSpec, config: ModelConfig) -> tuple[list[Layer], int]:
    layers = _tower("stem", table.stem, config.in_channels, config, separable=False)
    features = out_features(table.stem, config.in_channels)
    for index, towers in enumerate(table.modules):
        branches = [
            _tower(f"modules/{index}/towers/{number}", tower, features, config, config.separable)
            for number, tower in enumerate(towers)
        ]
        layers += branches[0] if len(branches) == 1 else [_parallel("concatenate", *branches)]
        features = sum(out_features(tower, features) for tower in towers)
    return layers, features


def _tower(
    path: str, tower: tuple[TowerLayer, ...], features: int, config: ModelConfig, separable: bool
) -> list[Layer]:
    layers: list[Layer] = []
    for index, layer in enumerate(tower):
        layers += _unit(f"{path}/{index}", layer, features, config, separable)
        features = out_features((layer,), features)
    return layers


def _unit(
    path: str, layer: TowerLayer, features: int, config: ModelConfig, separable: bool
) -> list[Layer]:
    if isinstance(layer, Fork):
        branches = [
            _unit(f"{path}/branches/{index}", branch, features, config, separable)
            for index, branch in enumerate(layer.branches)
        ]
        return [_parallel("concatenate", *branches)]
    if isinstance(layer, AveragePool):
        return [{"kind": "average_pool"}]
    if isinstance(layer, MaxPool):
        return [{"kind": "max_pool", "strides": layer.strides, "padding": layer.padding}]
    return _conv_unit(path, layer, features, config, separable)


def _conv_unit(
    path: str, layer: Convolution, features: int, config: ModelConfig, separable: bool
) -> list[Layer]:
    how: dict[str, Any] = {"strides": layer.strides, "padding": layer.padding}
    after = layer.features
    path, norm = f"{path}/convolution", _norm(f"{path}/norm", after, scale=False)
    if separable and layer.kernel != (1, 1):
        block = _block(path, features, after, config, layer.kernel, scale=False, **how)
        return [*block, norm, RELU]
    return [_conv(f"{path}/kernel", features, after, layer.kernel, **how), norm, RELU]


# -- operations ------------------------------------------------------------------------------------


class Operation(NamedTuple):
    """One operation of a model on one image; `features` is that of its output."""

    kind: str
    size: int
    channels: int
    features: int
    strides: int = 1
    padding: str = "SAME"


def operations(name: str, size: int) -> list[Operation]:
    """Every different operation of a model on images of `size` pixels, in order."""
    return list(dict.fromkeys(every_operation(name, size)))


def every_operation(name: str, size: int) -> Iterator[Operation]:
    """The convolutions, normalizations and pools of a model on images of `size` pixels."""
    described = architecture(name)
    yield from _operations(described["layers"], size, described["in_channels"])


def _operations(layers: list[Layer], size: int, channels: int) -> Iterator[Operation]:
    for layer in layers:
        kind = layer["kind"]
        if kind == "parallel":
            found = [list(_operations(branch, size, channels)) for branch in layer["branches"]]
            yield from (operation for branch in found for operation in branch)
            size, channels = _after(found[0][-1])
        if kind == "conv":
            kind = "pointwise" if layer["kernel"] == [1, 1] else "conv"
            kind = "depthwise" if layer["groups"] == channels else kind
        if kind in ("conv", "pointwise", "depthwise", "max_pool"):
            features = layer.get("features", channels)
            strides, padding = layer["strides"], layer["padding"]
            yield Operation(kind, size, channels, features, strides, padding)
            size, channels = _after(Operation(kind, size, channels, features, strides, padding))
        if kind == "norm":
            yield Operation("batch_norm", size, channels, channels)


def _after(operation: Operation) -> tuple[int, int]:
    """The size and the channels of what an operation with a 3x3 window or "SAME" gives."""
    outside = 2 if operation.padding == "VALID" else 0
    return ceil((operation.size - outside) / operation.strides), operation.features
