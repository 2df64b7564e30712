"""What other frameworks call the layers of our models: tables made from the models' own structure.

A table is a list of `Layer`, in the order in which Keras lists the layers of the same model. A
model family is added by a function that makes such a list from the paths of the model's arrays.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from xception_jax.errors import InputError
from xception_jax.models.functional import ModelFunction

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Variable:
    """An array of a layer: its name here, in Keras and in PyTorch."""

    ours: str
    keras: str
    torch: str


@dataclass(frozen=True)
class Kind:
    """A kind of layer.

    Attributes:
        keras: Keras's class, in the form in which its files and made-up names have it.
        spellings: a regular expression for that, over the versions of Keras.
        variables: in the order in which Keras stores them.
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
    """A layer of ours and its names elsewhere.

    Attributes:
        path: of its arrays' dictionary paths, what stands before the last slash.
        kind: what it is.
        keras: its name there; None where Keras makes one up (`conv2d_3`), by order of creation.
        torch: its name in timm's `legacy_xception`; None where there is none.
        created: orders those of a kind without names of their own, as Keras creates them, which
            need not be the order in which it lists them.
    """

    path: str
    kind: Kind
    keras: str | None
    torch: str | None
    created: int = 0


def is_head(path: str) -> bool:
    """Whether an array belongs to what is replaced for other classes."""
    return path.startswith(("classifier/", "fully_connected/"))


def layer_table(function: ModelFunction) -> list[Layer]:
    """The layers of a model that other frameworks have too, in Keras's order.

    Raises:
        InputError: a model of a family for which there is no table.
    """
    paths = [leaf.path for leaf in (*function.parameters, *function.batch_stats)]
    roots = {path.partition("/")[0] for path in paths}
    for needed, table in _TABLES:
        if needed <= roots:
            return table(paths)
    known = "weights can be carried over for Xception and Inception V3"
    raise InputError("model", ", ".join(sorted(roots)), f"a structure without a table: {known}")


def array_paths(function: ModelFunction, layer: Layer) -> dict[str, Variable]:
    """A layer's variables by our path; without those the model's layer does not have."""
    there = {leaf.path for leaf in (*function.parameters, *function.batch_stats)}
    named = {f"{layer.path}/{variable.ours}": variable for variable in layer.kind.variables}
    return {path: variable for path, variable in named.items() if path in there}


def axes_from_keras(variable: str, rank: int) -> Axes:
    """The transposition from Keras's layout to ours; it is its own inverse.

    Depthwise kernels are [k, k, channels, 1] there and [k, k, 1, channels] here.
    """
    return (0, 1, 3, 2) if variable == "spatial_kernel" and rank == 4 else tuple(range(rank))


def axes_from_torch(rank: int) -> Axes:
    """The transposition from PyTorch's layout to ours.

    Kernels are [out, in / groups, k, k] and [out, in] there, [k, k, in / groups, out] and
    [in, out] here.
    """
    return {4: (2, 3, 1, 0), 2: (1, 0)}.get(rank, tuple(range(rank)))


def _xception(paths: Collection[str]) -> list[Layer]:
    """Any depth and width of it: Keras calls the stem block 1 and counts on from there."""
    layers: list[Layer] = []
    stem = _count(paths, "stem")
    for i in range(stem):
        keras = f"block1_conv{i + 1}"
        layers.append(Layer(f"stem/{i}", CONV, keras, f"conv{i + 1}"))
        layers.append(Layer(f"stem_norms/{i}", NORM, f"{keras}_bn", f"bn{i + 1}"))
    flows = ("entry", "middle", "exit")
    modules = [f"{flow}/{i}" for flow in flows for i in range(_count(paths, flow))]
    for number, module in enumerate(modules, start=1):
        last = module == modules[-1]
        for i in range(_count(paths, f"{module}/convolutions")):
            keras = f"block{number + 1}_sepconv{i + 1}"
            if last:  # timm numbers these on from the stem
                convolution, norm = f"conv{stem + 1 + i}", f"bn{stem + 1 + i}"
            else:  # a ReLU stands before each but the model's first, and counts in `rep`
                at = 3 * i + (number > 1)
                convolution, norm = f"block{number}.rep.{at}", f"block{number}.rep.{at + 1}"
            layers.append(Layer(f"{module}/convolutions/{i}", SEPARABLE, keras, convolution))
            layers.append(Layer(f"{module}/norms/{i}", NORM, f"{keras}_bn", norm))
        if any(path.startswith(f"{module}/projection/") for path in paths):
            skip = f"block{number}.skip"
            layers.append(Layer(f"{module}/projection", CONV, None, skip, number))
            layers.append(Layer(f"{module}/projection_norm", NORM, None, f"{skip}bn", number))
    return [*layers, Layer("classifier", DENSE, "predictions", "fc")]


def _count(paths: Collection[str], name: str) -> int:
    """How many items the list `name` of a model has."""
    found = [re.match(rf"{re.escape(name)}/(\d+)/", path) for path in paths]
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _towers(paths: Collection[str]) -> list[Layer]:
    """Inception V3 and its kin, whose convolutions and norms Keras numbers as it creates them.

    It creates tower by tower, but lists by depth: first what is farthest from the module's end,
    where a convolution with its normalization and ReLU is three layers long, and the concatenation
    that ends a fork is one.
    """
    units = list(dict.fromkeys(path.rpartition("/")[0] for path in paths))
    convolutions = sorted(
        (unit.removesuffix("/convolution") for unit in units if unit.endswith("/convolution")),
        key=lambda unit: (not unit.startswith("stem"), _numbers(unit)),
    )
    created = {unit: place for place, unit in enumerate(convolutions)}

    def position(unit: str) -> tuple[bool, int, int, int]:
        if unit.startswith("stem"):
            return False, 0, 0, created[unit]
        module, tower, step, *branch = _numbers(unit)
        later = {
            tuple(_numbers(other)[:3]): "/branches/" in other
            for other in convolutions
            if _numbers(other)[:2] == [module, tower] and _numbers(other)[2] > step
        }
        distance = 3 * len(later) + sum(later.values()) + bool(branch)
        return True, module, -distance, created[unit]

    layers = []
    for unit in sorted(convolutions, key=position):
        kind = CONV if f"{unit}/convolution/kernel" in paths else SEPARABLE
        layers.append(Layer(f"{unit}/convolution", kind, None, None, created[unit]))
        layers.append(Layer(f"{unit}/norm", NORM, None, None, created[unit]))
    return [*layers, Layer("classifier", DENSE, "predictions", None)]


def _numbers(path: str) -> list[int]:
    return [int(part) for part in path.split("/") if part.isdecimal()]


_TABLES = (
    ({"stem", "entry", "exit", "classifier"}, _xception),
    ({"stem", "modules", "classifier"}, _towers),
)
