"""Import of weight files: as converted weights, or as initial values of a training run."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from xception_jax.models import ModelFunction
from xception_jax.models.functional import Params
from xception_jax.pretrained import (
    TIMM,
    WeightsMismatch,
    expected_by,
    is_head,
    open_source,
    read_values,
)
from xception_jax.pretrained.directory import (
    Origin,
    Weights,
    checked_settings,
    model_of,
    read_weights,
    require_class_names,
)
from xception_jax.pretrained.files import Source
from xception_jax.pretrained.keras_config import (
    SOFTMAX,
    probabilities_of_head,
    require_documented_range,
    with_own_preprocessing,
)
from xception_jax.pretrained.layers import layer_table
from xception_jax.regular_files import open_for_reading

# timm's Xception differs from Keras's in having PyTorch's batch normalization and pool padding.
_SETTINGS = {TIMM: {"norm_epsilon": 1e-5, "norm_momentum": 0.9, "padding": "torch"}}


def import_file(
    path: str | Path,
    *,
    model: str = "xception",
    overrides: Iterable[str] = (),
    head: bool = True,
    size: int = 299,
    class_names: tuple[str, ...] | None = None,
) -> Weights:
    """Reads a weight file as converted weights, with as many classes as the file has.

    Args:
        path: the weight file; see `load_weights`.
        model: name of the model.
        overrides: settings that differ from the published model, such as `model.middle_modules=2`.
        head: whether to read the classifier; if False it is left out even if the file has one.
        size: height and width, in pixels, of the images that the model expects.
        class_names: name of each class, if known.

    Raises:
        WeightsMismatch: the file's arrays are not those of the model; lists them.
        InputError: the file cannot be used, or a setting does not exist.
    """
    path = Path(path)
    with open_source(path, "auto") as opened:
        settings = checked_settings(model, _SETTINGS.get(opened.kind, {}), list(overrides))
        classes = _count_classes(opened, model, settings) if head else None
        require_class_names(class_names, classes)
        function = model_of(model, settings, classes)
        values = read_values(opened, function, head=head)
        with open_for_reading(path) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        parameters, batch_stats = _split(function, values)
        return Weights(
            model=model,
            settings=settings,
            num_classes=classes,
            preprocessing=with_own_preprocessing(
                path, opened.layers, expected_by(opened.kind, size)
            ),
            probabilities=probabilities_of_head(path, opened.layers) if head else SOFTMAX,
            class_names=class_names,
            origin=Origin(path.name, opened.kind, sha256),
            parameters=parameters,
            batch_stats=batch_stats,
        )


def _count_classes(source: Source, model: str, settings: dict[str, Any]) -> int:
    function = model_of(model, settings, 1)
    bias = source.match(function, layer_table(function)).tensors.get("classifier/bias")
    return bias.shape[0] if bias is not None and len(bias.shape) == 1 and bias.shape[0] else 1000


def initial_from(
    path: str | Path, function: ModelFunction
) -> tuple[Params, Params, tuple[str, ...]]:
    """Reads parameters and batch statistics to start training from.

    The classifier and the fully-connected layers before it are read if all their shapes are those
    of the model, and left out otherwise: `function.init(key)[0] | parameters` then has them freshly
    drawn.

    Args:
        path: a directory of converted weights, or a file that `load_weights` reads.
        function: the model to train.

    Returns:
        Parameters, batch statistics, and the paths of the parameters that were left out.

    Raises:
        WeightsMismatch: arrays other than the classifier's are not those of the model.
        InputError: the directory or the file cannot be used.
    """
    path = Path(path)
    if path.is_dir():
        values = _matching_values(path, read_weights(path), function)
    else:
        with open_source(path) as source:
            require_documented_range(path, source.layers, expected_by(source.kind))
            values = read_values(source, function, head=None)
    parameters, batch_stats = _split(function, values)
    left_out = [leaf.path for leaf in function.parameters if leaf.path not in values]
    return parameters, batch_stats, tuple(left_out)


def _split(function: ModelFunction, values: Params) -> tuple[Params, Params]:
    parameters, batch_stats = (
        {leaf.path: values[leaf.path] for leaf in leaves if leaf.path in values}
        for leaves in (function.parameters, function.batch_stats)
    )
    return parameters, batch_stats


def _matching_values(path: Path, weights: Weights, function: ModelFunction) -> Params:
    """The converted weights by path, without the head unless all of it fits the model."""
    values = {**weights.parameters, **weights.batch_stats}
    shapes = {leaf.path: leaf.shape for leaf in (*function.parameters, *function.batch_stats)}
    stored_shapes = {name: np.shape(value) for name, value in values.items()}
    head = {name for name in (*values, *shapes) if is_head(name)}
    if any(stored_shapes.get(name) != shapes.get(name) for name in head):
        values = {name: value for name, value in values.items() if name not in head}
        shapes = {name: shape for name, shape in shapes.items() if name not in head}
    missing = [name for name in shapes if name not in values]
    surplus = [name for name in values if name not in shapes]
    reshaped = [
        f"{name} {stored_shapes[name]} instead of {shape}"
        for name, shape in shapes.items()
        if name in values and stored_shapes[name] != shape
    ]
    if missing or surplus or reshaped:
        raise WeightsMismatch(path, missing=missing, surplus=surplus, reshaped=reshaped)
    return values
