"""Reading and writing of Keras weights, in the layout of Keras 3 and in the older one.

Keras 3 (`.weights.h5`, and `model.weights.h5` inside `.keras`) stores arrays as
`layers/conv2d_3/vars/0`, with the layers numbered by class and each layer's own name in an
attribute of `vars`. Older files (`.h5`, among them the published ImageNet weights) have a group for
each layer, listed in the attribute `layer_names`, with the names of its arrays in `weight_names`.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from xception_jax.errors import refused
from xception_jax.models.functional import ModelFunction
from xception_jax.pretrained.hdf5 import Contents
from xception_jax.pretrained.layers import (
    DENSE,
    KINDS,
    Kind,
    Layer,
    Variable,
    array_paths,
    axes_from_keras,
)
from xception_jax.pretrained.tensors import Matched, Tensor, damaged
from xception_jax.runtime.run_directory import write_whole

# Groups of a whole model's file that are not layers.
_NO_LAYERS = ("optimizer", "optimizer_weights", "metrics", "compile_metrics", "loss_tracker")
_ROLES = {
    **{role: role for kind in KINDS for role in (v.keras for v in kind.variables)},
    "W": "kernel",  # Keras 1, with which the published files were written
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",  # misnamed in Keras 1: it holds the variance
}
_ROLE = re.compile(
    rf"(?:^|[/_])({'|'.join(sorted(_ROLES, key=len, reverse=True))})(?:_\d+)?(?::0)?$"
)


@dataclass(frozen=True)
class KerasLayer:
    """A layer of a Keras file that has arrays.

    Attributes:
        name: name of the layer; None if the file has only `auto_name`.
        auto_name: class and number, such as "conv2d_3".
        tensors: arrays of the layer, in Keras's order.
    """

    name: str | None
    auto_name: str
    tensors: tuple[Tensor, ...]


def is_legacy(contents: Contents) -> bool:
    """Whether a file has the layout from before Keras 3."""
    return any(
        contents.texts(group, "layer_names") is not None for group in _legacy_roots(contents)
    )


def _legacy_roots(contents: Contents) -> list[str]:
    return [group for group in ("", "model_weights") if group in contents.groups]


def read_legacy(contents: Contents) -> list[KerasLayer]:
    """The layers of a file in the layout from before Keras 3.

    Raises:
        InputError: the attributes list a layer or an array that is missing.
    """
    layers = []
    for root in _legacy_roots(contents):
        for name in contents.texts(root, "layer_names") or ():
            group = f"{root}/{name}".lstrip("/")
            if group not in contents.groups:
                raise damaged(contents.path, f"it lists the layer {name!r}, which is not there")
            weights = contents.texts(group, "weight_names") or ()
            missing = [weight for weight in weights if f"{group}/{weight}" not in contents.tensors]
            if missing:
                raise damaged(contents.path, f"{group} lists {missing[0]!r}, which is not there")
            # Weights of a model inside the model bear the names of its layers: `conv2d/kernel:0`.
            named: dict[str, list[Tensor]] = {}
            for weight in weights:
                owner = weight.rpartition("/")[0].rpartition("/")[2]
                named.setdefault(owner, []).append(contents.tensors[f"{group}/{weight}"])
            nested = len(named) > 1
            for owner, tensors in named.items():
                layer = owner if nested else name
                layers.append(KerasLayer(layer, layer, tuple(tensors)))
    return layers


def read_keras3(contents: Contents) -> list[KerasLayer]:
    """The layers of a file in Keras 3's layout."""
    grouped: dict[str, dict[str, Tensor]] = {}
    for full, tensor in contents.tensors.items():
        if full.startswith(_NO_LAYERS) or "/seed_generator" in full:
            continue
        group, _, index = full.rpartition("/")
        grouped.setdefault(group, {})[index] = tensor
    layers = []
    for group, tensors in grouped.items():
        order = sorted(tensors, key=lambda index: (not index.isdecimal(), len(index), index))
        # `layers/conv2d_3/vars`, or `_layer_checkpoint_dependencies/…` before Keras 3.
        auto_name = group.removesuffix("/vars").rpartition("/")[2]
        name = contents.text(group, "name")
        layers.append(KerasLayer(name, auto_name, tuple(tensors[index] for index in order)))
    return layers


def match(layers: Sequence[KerasLayer], function: ModelFunction, table: Sequence[Layer]) -> Matched:
    """Pairs the arrays of a file's layers with those of a model, given the model's layer table."""
    matched: dict[str, Tensor] = {}
    for layer, source in _pairs(layers, table):
        for position, (path, variable) in enumerate(array_paths(function, layer).items()):
            tensor = _variable(source, variable, position)
            if tensor is not None:
                matched[path] = tensor
    used = {tensor.name for tensor in matched.values()}
    surplus = [t.name for source in layers for t in source.tensors if t.name not in used]
    return Matched(matched, tuple(surplus))


def _pairs(
    layers: Sequence[KerasLayer], table: Sequence[Layer]
) -> Iterable[tuple[Layer, KerasLayer]]:
    """Pairs our layers with those of a file: by name, or by order where Keras generated names."""
    if all(source.name is None for source in layers):
        for kind in KINDS:
            ours = [layer for layer in table if layer.kind is kind]
            theirs = _auto_named(kind, {source.auto_name: source for source in layers})
            yield from zip(ours, theirs, strict=False)
        return
    named = {source.name: source for source in layers if source.name is not None}
    unnamed: list[Layer] = []
    for layer in table:
        if layer.keras is not None and layer.keras in named:
            yield layer, named.pop(layer.keras)
        elif layer.keras is None or layer.kind is DENSE:  # a user's classifier is called dense_7
            unnamed.append(layer)
    for kind in KINDS:
        ours = sorted(
            (layer for layer in unnamed if layer.kind is kind), key=lambda layer: layer.created
        )
        yield from zip(ours, _auto_named(kind, named), strict=False)


def _auto_named(kind: Kind, named: Mapping[str, KerasLayer]) -> list[KerasLayer]:
    """The layers whose names Keras generated for a kind, in order of their numbers.

    The first number can be any.
    """
    pattern = re.compile(rf"{kind.spellings}(?:_(\d+))?")
    matches = [(pattern.fullmatch(name), source) for name, source in named.items()]
    numbers = [(int(match[1] or -1), source) for match, source in matches if match]
    return [source for _, source in sorted(numbers, key=lambda pair: pair[0])]


def _variable(source: KerasLayer, variable: Variable, position: int) -> Tensor | None:
    """The array of a layer for a variable: by name if all its arrays have one, else by position."""
    matches = [_ROLE.search(tensor.name.rpartition("/")[2]) for tensor in source.tensors]
    roles = [_ROLES[match[1]] for match in matches if match]
    if len(set(roles)) == len(source.tensors):
        by_role = dict(zip(roles, source.tensors, strict=True))
        return by_role.get(variable.keras)
    return source.tensors[position] if position < len(source.tensors) else None


def save(
    path: Path, function: ModelFunction, table: Sequence[Layer], values: Mapping[str, np.ndarray]
) -> None:
    """Writes a `.weights.h5` file of Keras 3 atomically.

    Raises:
        InputError: the file cannot be written.
        OSError: the disk is full.
    """
    counts = {kind.keras: 0 for kind in KINDS}
    names = _names(table)
    # Not to the disk at once: HDF5 that finds it full crashes the process when it closes the file.
    content = io.BytesIO()
    with refused("file", str(path), "cannot be written"):
        with h5py.File(content, "w") as file:
            for layer in table:
                kind = layer.kind.keras
                group = file.create_group(f"layers/{_next_name(kind, counts)}/vars")
                group.attrs["name"] = names[layer.path]
                for index, (name, variable) in enumerate(array_paths(function, layer).items()):
                    value = np.asarray(values[name])
                    axes = axes_from_keras(variable.ours, value.ndim)
                    group[str(index)] = np.ascontiguousarray(value.transpose(axes))
        write_whole(path, content.getvalue())


def _names(table: Sequence[Layer]) -> dict[str, str]:
    """Keras's name of each layer by our path, including the names that Keras generates."""
    counts = {kind.keras: 0 for kind in KINDS}
    return {
        layer.path: layer.keras or _next_name(layer.kind.keras, counts)
        for layer in sorted(table, key=lambda layer: layer.created)
    }


def _next_name(kind: str, counts: dict[str, int]) -> str:
    """The next of the names `conv2d`, `conv2d_1`, …, counted in `counts`."""
    number = counts[kind]
    counts[kind] += 1
    return f"{kind}_{number}" if number else kind
