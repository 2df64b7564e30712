"""Loading of weight files into models, and saving of models in Keras's format."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from xception_jax.errors import InputError
from xception_jax.models.blocks import SeparableConv
from xception_jax.models.functional import Leaf, ModelFunction, Params, functionalize
from xception_jax.pretrained import keras
from xception_jax.pretrained.files import TIMM, Source, open_source
from xception_jax.pretrained.keras_config import require_documented_range
from xception_jax.pretrained.layers import (
    Axes,
    Layer,
    array_paths,
    axes_from_keras,
    axes_from_torch,
    is_head,
    layer_table,
)
from xception_jax.pretrained.preprocessing import expected_by
from xception_jax.pretrained.silent_settings import require_same_computation
from xception_jax.pretrained.tensors import Matched, Tensor, WeightsMismatch, damaged, listed

_HEAD_HINT = "; head=False (on the command line --no-head) leaves the classifier out"


def load_weights(
    model: nnx.Module, path: str | Path, source: str = "auto", *, head: bool = True
) -> None:
    """Loads every parameter and batch statistic of a model from a file, in place.

    On an error the model is unchanged. Values are converted to the model's dtypes: those of a
    float32 file are loaded bit for bit into a float32 model.

    Args:
        model: a model of `create_model`, of the same depth and width as the file's.
        path: a `.weights.h5`, `.keras` or older `.h5` file of Keras, or timm's `legacy_xception` as
            `.safetensors`. For the latter the model has to be created with `norm_epsilon=1e-5` and
            `padding="torch"`, without which it would compute something else.
        source: "keras", "keras_archive", "keras_legacy" or "timm" to accept that format only.
        head: whether to load the classifier; if False, it keeps its values.

    Raises:
        WeightsMismatch: an `InputError` that lists arrays that are missing, surplus or of another
            shape.
        InputError: the file is damaged, larger than the limits or of an unknown format, is of a
            model that computes something else, or there is no layer table for the model.
    """
    function, _, _ = functionalize(model)
    with open_source(path, source) as opened:
        require_documented_range(opened.path, opened.layers, expected_by(opened.kind))
        require_same_computation(opened, model)
        values = read_values(opened, function, head=head)
    leaves: list[Any] = [
        (leaf.keys, values[leaf.path])
        for leaf in (*function.parameters, *function.batch_stats)
        if leaf.path in values
    ]
    nnx.update(model, nnx.from_flat_state(leaves))


def read_values(source: Source, function: ModelFunction, *, head: bool | None = True) -> Params:
    """Reads the arrays of a model from an open file; returns them by path.

    Args:
        source: the file.
        function: the model.
        head: True requires the model's classifier, False leaves it out, None leaves it out if the
            file has none or another one.

    Raises:
        WeightsMismatch: the file's arrays are not those of the model.
        InputError: the file is damaged.
    """
    table = layer_table(function)
    matched = source.match(function, table)
    leaves = (*function.parameters, *function.batch_stats)
    problems = {
        leaf.path: _difference(leaf, matched.tensors.get(leaf.path), source.kind) for leaf in leaves
    }
    if head is None:
        head = not any(problem for path, problem in problems.items() if is_head(path))
    leaves = tuple(leaf for leaf in leaves if head or not is_head(leaf.path))
    _require_match(source.path, [leaf.path for leaf in leaves], matched, problems, table)
    values = {leaf.path: _read(leaf, matched.tensors[leaf.path], source.kind) for leaf in leaves}
    _require_plausible(source.path, values)
    return {path: jnp.asarray(value) for path, value in values.items()}


def _require_match(
    path: Path,
    wanted: Sequence[str],
    matched: Matched,
    problems: Mapping[str, str],
    table: Sequence[Layer],
) -> None:
    """Raises `WeightsMismatch` unless the file has all wanted arrays, unchanged, and no others."""
    labels = {
        name: f"{name} ({layer.keras})"
        for layer in table
        if layer.keras
        for name in (f"{layer.path}/{variable.ours}" for variable in layer.kind.variables)
    }
    missing = [labels.get(name, name) for name in wanted if name not in matched.tensors]
    reshaped = [problems[name] for name in wanted if name in matched.tensors and problems[name]]
    if missing or matched.surplus or reshaped:
        about_head = any(problems[name] for name in wanted if is_head(name))
        raise WeightsMismatch(
            path,
            missing=missing,
            surplus=matched.surplus,
            reshaped=reshaped,
            hint=_HEAD_HINT if about_head else "",
        )


def _axes(path: str, rank: int, kind: str) -> Axes:
    """The permutation of axes from a file's layout to the model's."""
    name = path.rpartition("/")[2]
    return axes_from_torch(rank) if kind == TIMM else axes_from_keras(name, rank)


def _difference(leaf: Leaf, tensor: Tensor | None, kind: str) -> str:
    """Describes how a file's array differs from the model's, in the file's layout; else empty."""
    if tensor is None:
        return "missing"
    axes = _axes(leaf.path, len(leaf.shape), kind)
    expected = tuple(leaf.shape[axes.index(axis)] for axis in range(len(axes)))
    floats = tensor.dtype.kind == "f" and tensor.dtype.itemsize in (2, 4, 8)
    if tensor.shape == expected and floats:
        return ""
    actual = f"{tensor.shape}" if floats else f"{tensor.dtype} {tensor.shape}"
    return f"{tensor.name} {actual} instead of {expected} for {leaf.path}"


def _read(leaf: Leaf, tensor: Tensor, kind: str) -> np.ndarray:
    value = tensor.read().transpose(_axes(leaf.path, len(leaf.shape), kind))
    return np.ascontiguousarray(value, dtype=leaf.dtype)


def _require_plausible(path: Path, values: dict[str, np.ndarray]) -> None:
    """Raises `InputError` for numbers that no trained network has: damage without a checksum."""
    broken = [
        name
        for name, value in values.items()
        if not np.isfinite(value).all() or (name.endswith("/variance") and (value < 0).any())
    ]
    if broken:
        reason = f"it holds numbers that are not finite, or negative variances: {listed(broken)}"
        raise damaged(path, reason)


def save_keras_weights(model: nnx.Module, path: str | Path) -> None:
    """Saves a model as `.weights.h5` for `keras.applications.Xception(…).load_weights(path)`.

    Keras's model keeps its own settings, whatever those of this model: epsilon 1e-3 in batch
    normalization, and its padding of pools.

    Args:
        model: a model with the paper's structure, of any depth and width.
        path: must end in `.weights.h5`, as Keras requires; an existing file is replaced.

    Raises:
        InputError: the model has layers that Keras's has not, or the file cannot be written.
    """
    function, parameters, batch_stats = functionalize(model)
    _require_keras_blocks(model)
    path, values = Path(path), {**parameters, **batch_stats}
    if not path.name.endswith(".weights.h5"):
        raise InputError("file", str(path), "must end in .weights.h5, as Keras demands")
    table = layer_table(function)
    known = {name for layer in table for name in array_paths(function, layer)}
    if extra := [name for name in values if name not in known]:
        raise InputError("model", None, f"Keras's Xception has no place for {listed(extra)}")
    depthwise = [name for name in values if name.endswith("/spatial_kernel")]
    if regular := [name for name in depthwise if values[name].shape[2] != 1]:
        raise InputError(
            "model.segments", None, f"Keras's SeparableConv2D is depthwise; here: {listed(regular)}"
        )
    keras.save(path, function, table, {name: np.asarray(value) for name, value in values.items()})


def _require_keras_blocks(model: nnx.Module) -> None:
    """Raises `InputError` unless all blocks are like Keras's `SeparableConv2D`."""
    for _, block in nnx.iter_graph(model):
        if isinstance(block, SeparableConv):
            for field, only in (("order", "depthwise_first"), ("intermediate_activation", "none")):
                if (value := getattr(block.config, field)) != only:
                    raise InputError(f"model.{field}", value, "Keras's blocks have another", only)
