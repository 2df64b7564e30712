"""Keras's weights: the layout of Keras 3, and the older one of whole layers.

Keras 3 (`.weights.h5`, and `model.weights.h5` inside `.keras`): `layers/conv2d_3/vars/0`, the
layers counted by class, the layer's own name an attribute of `vars`. Before (`.h5`, among them the
published ImageNet weights): a group per layer, listed in the attribute `layer_names`, each with
the names of its arrays in `weight_names`.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from xception_jax.errors import InputError
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

# Groups of a whole model's file that hold no weights of layers.
_NO_LAYERS = ("optimizer", "optimizer_weights", "metrics", "compile_metrics", "loss_tracker")
_ROLES = {
    **{role: role for kind in KINDS for role in (v.keras for v in kind.variables)},
    "W": "kernel",  # Keras 1, with which the published files were written
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",  # that was its name, the variance is what it held
}
_ROLE = re.compile(
    rf"(?:^|[/_])({'|'.join(sorted(_ROLES, key=len, reverse=True))})(?:_\d+)?(?::0)?$"
)


@dataclass(frozen=True)
class KerasLayer:
    """A layer that holds arrays.

    Attributes:
        name: its own; None: the file does not say, and `counted` is all there is.
        counted: class and number, such as "conv2d_3".
        tensors: in Keras's order.
    """

    name: str | None
    counted: str
    tensors: tuple[Tensor, ...]


def is_legacy(contents: Contents) -> bool:
    """Whether the file has the older layout."""
    return any(
        contents.texts(group, "layer_names") is not None for group in _legacy_roots(contents)
    )


def _legacy_roots(contents: Contents) -> list[str]:
    return [group for group in ("", "model_weights") if group in contents.groups]


def read_legacy(contents: Contents) -> list[KerasLayer]:
    """The layers of a file in the older layout.

    Raises:
        InputError: a name that the attributes list leads to no array.
    """
    layers = []
    for root in _legacy_roots(contents):
        for name in contents.texts(root, "layer_names") or ():
            group = f"{root}/{name}".lstrip("/")
            if group not in contents.groups:
                raise damaged(contents.path, f"it lists the layer {name!r}, which is not there")
            listed = contents.texts(group, "weight_names") or ()
            lost = [weight for weight in listed if f"{group}/{weight}" not in contents.tensors]
            if lost:
                raise damaged(contents.path, f"{group} lists {lost[0]!r}, which is not there")
            tensors = tuple(contents.tensors[f"{group}/{weight}"] for weight in listed)
            if tensors:
                layers.append(KerasLayer(name, name, tensors))
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
        counted = group.removesuffix("/vars").rpartition("/")[2]
        name = contents.text(group, "name")
        layers.append(KerasLayer(name, counted, tuple(tensors[index] for index in order)))
    return layers


def match(layers: Sequence[KerasLayer], function: ModelFunction, table: Sequence[Layer]) -> Matched:
    """Brings a file's layers together with a model's, and so their arrays."""
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    for layer, source in _pairs(layers, table):
        for place, (path, variable) in enumerate(array_paths(function, layer).items()):
            tensor = _variable(source, variable, place)
            if tensor is not None:
                found[path] = tensor
                used.add(tensor.name)
    surplus = [t.name for source in layers for t in source.tensors if t.name not in used]
    return Matched(found, tuple(surplus))


def _pairs(
    layers: Sequence[KerasLayer], table: Sequence[Layer]
) -> Iterable[tuple[Layer, KerasLayer]]:
    """Layers of ours with those of the file: by name, or by order where Keras made names up."""
    if all(source.name is None for source in layers):
        for kind in KINDS:
            ours = [layer for layer in table if layer.kind is kind]
            theirs = _numbered(kind, {source.counted: source for source in layers})
            yield from zip(ours, theirs, strict=False)
        return
    named = {source.name: source for source in layers if source.name is not None}
    unnamed: list[Layer] = []
    for layer in table:
        if layer.keras is not None and layer.keras in named:
            yield layer, named.pop(layer.keras)
        elif layer.keras is None or layer.kind is DENSE:  # one's own classifier is called dense_7
            unnamed.append(layer)
    for kind in KINDS:
        ours = sorted(
            (layer for layer in unnamed if layer.kind is kind), key=lambda layer: layer.created
        )
        yield from zip(ours, _numbered(kind, named), strict=False)


def _numbered(kind: Kind, named: Mapping[str, KerasLayer]) -> list[KerasLayer]:
    """The layers whose names Keras made up for a kind, in order, whatever number comes first."""
    pattern = re.compile(rf"{kind.spellings}(?:_(\d+))?")
    matches = [(pattern.fullmatch(name), source) for name, source in named.items()]
    numbers = [(int(match[1] or -1), source) for match, source in matches if match]
    return [source for _, source in sorted(numbers, key=lambda pair: pair[0])]


def _variable(source: KerasLayer, variable: Variable, place: int) -> Tensor | None:
    """A layer's array by its role where all of them name theirs, else by its place."""
    matches = [_ROLE.search(tensor.name.rpartition("/")[2]) for tensor in source.tensors]
    roles = [_ROLES[match[1]] for match in matches if match]
    if len(set(roles)) == len(source.tensors):
        by_role = dict(zip(roles, source.tensors, strict=True))
        return by_role.get(variable.keras)
    return source.tensors[place] if place < len(source.tensors) else None


def save(
    path: Path, function: ModelFunction, table: Sequence[Layer], values: Mapping[str, np.ndarray]
) -> None:
    """Writes Keras 3's `.weights.h5`, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    counts = {kind.keras: 0 for kind in KINDS}
    names = _names(table)
    try:
        with h5py.File(partial, "w") as file:
            for layer in table:
                kind = layer.kind.keras
                group = file.create_group(f"layers/{_count(kind, counts)}/vars")
                group.attrs["name"] = names[layer.path]
                for index, (name, variable) in enumerate(array_paths(function, layer).items()):
                    value = np.asarray(values[name])
                    axes = axes_from_keras(variable.ours, value.ndim)
                    group[str(index)] = np.ascontiguousarray(value.transpose(axes))
        partial.replace(path)
    except OSError as error:
        raise InputError("file", str(path), f"cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _names(table: Sequence[Layer]) -> dict[str, str]:
    """Keras's name of each layer by our path, with those that it makes up."""
    counts = {kind.keras: 0 for kind in KINDS}
    return {
        layer.path: layer.keras or _count(layer.kind.keras, counts)
        for layer in sorted(table, key=lambda layer: layer.created)
    }


def _count(kind: str, counts: dict[str, int]) -> str:
    """The next of `conv2d`, `conv2d_1`, …."""
    number = counts[kind]
    counts[kind] += 1
    return f"{kind}_{number}" if number else kind
