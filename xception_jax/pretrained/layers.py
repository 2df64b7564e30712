"""Layer tables: the names of our models' layers in Keras and timm.

A table is a list of `Layer` in the order in which Keras lists the layers of the same model. To add
a model family, add a function that builds such a list from the paths of the model's arrays.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from xception_jax.errors import InputError
from xception_jax.models.functional import ModelFunction

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Variable:
    """An array of a layer: its names in this package, in Keras and in PyTorch."""

    ours: str
    keras: str
    torch: str


@dataclass(frozen=True)
class Kind:
    """A kind of layer, such as a convolution.

    Attributes:
        keras: Keras's class in snake case, as in its files and generated names.
        spellings: regular expression for that name in all versions of Keras.
        variables: arrays of the layer, in the order in which Keras stores them.
    """

    keras: str
    spellings: str
    variables: tuple[Variable, ...]


_KERNEL, _BIAS = Variable("kernel", "kernel", "weight"), Variable("bias", "bias", "bias")
CONV = Kind("conv2d", r"conv(?:olution)?_?2d", (_KERNEL,))
DENSE = Kind("dense", r"dense", (_KERNEL, _BIAS))
SEPARABLE = Kind(
    "separable_conv2d",
    r"separable_?conv(?:olution)?_?2d",
    (
        Variable("spatial_kernel", "depthwise_kernel", "conv1.weight"),
        Variable("pointwise_kernel", "pointwise_kernel", "pointwise.weight"),
    ),
)
NORM = Kind(
    "batch_normalization",
    r"batch_?normalization(?:_v\d)?",
    (
        Variable("scale", "gamma", "weight"),
        Variable("bias", "beta", "bias"),
        Variable("mean", "moving_mean", "running_mean"),
        Variable("variance", "moving_variance", "running_var"),
    ),
)
KINDS = (CONV, DENSE, SEPARABLE, NORM)


@dataclass(frozen=True)
class Layer:
    """A layer of one of our models and its names in other frameworks.

    Attributes:
        path: path of the layer, a prefix of the paths of its arrays.
        kind: kind of the layer.
        keras: name in Keras; None if Keras generates it (`conv2d_3`) in order of creation.
        torch: name in timm's `legacy_xception`; None if it has no such layer.
        created: sort key for the order in which Keras creates the layers of a kind without fixed
            names, which can differ from the order in which it lists them.
    """

    path: str
    kind: Kind
    keras: str | None
    torch: str | None
    created: int = 0


def is_head(path: str) -> bool:
    """Whether an array belongs to the head, which is replaced for another set of classes."""
    return path.startswith(("classifier/", "fully_connected/"))


def layer_table(function: ModelFunction) -> list[Layer]:
    """The layers of a model with their names in other frameworks, in Keras's order.

    Raises:
        InputError: there is no table for models of this family.
    """
    paths = [leaf.path for leaf in (*function.parameters, *function.batch_stats)]
    roots = {path.partition("/")[0] for path in paths}
    for needed, table in _TABLES:
        if needed <= roots:
            return table(paths)
    reason = (
        "a structure without a table: weights can be carried over for Xception and Inception V3"
    )
    raise InputError("model", ", ".join(sorted(roots)), reason)


def array_paths(function: ModelFunction, layer: Layer) -> dict[str, Variable]:
    """The variables of a layer by the paths of their arrays, as far as the model has them."""
    existing = {leaf.path for leaf in (*function.parameters, *function.batch_stats)}
    paths = {f"{layer.path}/{variable.ours}": variable for variable in layer.kind.variables}
    return {path: variable for path, variable in paths.items() if path in existing}


def axes_from_keras(variable: str, rank: int) -> Axes:
    """The permutation of axes from Keras's layout to ours; it is its own inverse.

    Depthwise kernels are [k, k, channels, 1] in Keras and [k, k, 1, channels] here.
    """
    return (0, 1, 3, 2) if variable == "spatial_kernel" and rank == 4 else tuple(range(rank))


def axes_from_torch(rank: int) -> Axes:
    """The permutation of axes from PyTorch's layout to ours.

    Kernels are [out, in / groups, k, k] and [out, in] in PyTorch, [k, k, in / groups, out] and
    [in, out] here.
    """
    return {4: (2, 3, 1, 0), 2: (1, 0)}.get(rank, tuple(range(rank)))


def _xception(paths: Collection[str]) -> list[Layer]:
    """The table of an Xception of any depth and width; Keras counts the stem as block 1."""
    layers: list[Layer] = []
    stem = _list_length(paths, "stem")
    for i in range(stem):
        keras = f"block1_conv{i + 1}"
        layers.append(Layer(f"stem/{i}", CONV, keras, f"conv{i + 1}"))
        layers.append(Layer(f"stem_norms/{i}", NORM, f"{keras}_bn", f"bn{i + 1}"))
    flows = ("entry", "middle", "exit")
    modules = [f"{flow}/{i}" for flow in flows for i in range(_list_length(paths, flow))]
    for number, module in enumerate(modules, start=1):
        last = module == modules[-1]
        for i in range(_list_length(paths, f"{module}/convolutions")):
            keras = f"block{number + 1}_sepconv{i + 1}"
            if last:  # timm continues the numbers of the stem
                convolution, norm = f"conv{stem + 1 + i}", f"bn{stem + 1 + i}"
            else:  # a ReLU precedes each but the model's first, and counts in `rep`
                index = 3 * i + (number > 1)
                convolution, norm = f"block{number}.rep.{index}", f"block{number}.rep.{index + 1}"
            layers.append(Layer(f"{module}/convolutions/{i}", SEPARABLE, keras, convolution))
            layers.append(Layer(f"{module}/norms/{i}", NORM, f"{keras}_bn", norm))
        if any(path.startswith(f"{module}/projection/") for path in paths):
            skip = f"block{number}.skip"
            layers.append(Layer(f"{module}/projection", CONV, None, skip, number))
            layers.append(Layer(f"{module}/projection_norm", NORM, None, f"{skip}bn", number))
    return [*layers, Layer("classifier", DENSE, "predictions", "fc")]


def _list_length(paths: Collection[str], name: str) -> int:
    """The number of items of the list `name` in a model."""
    matches = [re.match(rf"{re.escape(name)}/(\d+)/", path) for path in paths]
    return max((int(match[1]) + 1 for match in matches if match), default=0)


def _towers(paths: Collection[str]) -> list[Layer]:
    """The table of Inception V3 and other networks of towers.

    Keras creates, and numbers, their convolutions and norms tower by tower, but lists them by
    depth: those farthest from the module's end first. A convolution with its normalization and ReLU
    counts as three layers of depth, the concatenation that ends a fork as one.
    """
    units = list(dict.fromkeys(path.rpartition("/")[0] for path in paths))
    convolutions = sorted(
        (unit.removesuffix("/convolution") for unit in units if unit.endswith("/convolution")),
        key=lambda unit: (not unit.startswith("stem"), _indices(unit)),
    )
    created = {unit: number for number, unit in enumerate(convolutions)}

    def position(unit: str) -> tuple[bool, int, int, int]:
        if unit.startswith("stem"):
            return False, 0, 0, created[unit]
        module, tower, step, *branch = _indices(unit)
        later_steps = {
            tuple(_indices(other)[:3]): "/branches/" in other
            for other in convolutions
            if _indices(other)[:2] == [module, tower] and _indices(other)[2] > step
        }
        distance = 3 * len(later_steps) + sum(later_steps.values()) + bool(branch)
        return True, module, -distance, created[unit]

    layers = []
    for unit in sorted(convolutions, key=position):
        kind = CONV if f"{unit}/convolution/kernel" in paths else SEPARABLE
        layers.append(Layer(f"{unit}/convolution", kind, None, None, created[unit]))
        layers.append(Layer(f"{unit}/norm", NORM, None, None, created[unit]))
    return [*layers, Layer("classifier", DENSE, "predictions", None)]


def _indices(path: str) -> list[int]:
    return [int(part) for part in path.split("/") if part.isdecimal()]


_TABLES = (
    ({"stem", "entry", "exit", "classifier"}, _xception),
    ({"stem", "modules", "classifier"}, _towers),
)
