"""Import of weight files: as converted weights, or as initial values of a training run."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from xception_jax.errors import InputError
from xception_jax.models import ModelFunction
from xception_jax.models.functional import Params
from xception_jax.pretrained import (
    Preprocessing,
    WeightsMismatch,
    expected_by,
    is_head,
    open_source,
    read_values,
)
from xception_jax.pretrained.class_names import class_positions
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
from xception_jax.pretrained.silent_settings import (
    other_arm,
    require_same_computation,
    require_silent_settings,
    settings_of_source,
)
from xception_jax.regular_files import DIRECTORY, kind_of, open_for_reading


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
        settings = checked_settings(model, settings_of_source(opened), list(overrides))
        classes = _count_classes(opened, model, settings) if head else None
        require_class_names(class_names, classes)
        function = model_of(model, settings, classes)
        require_same_computation(opened, function.abstract())
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
    path: str | Path, function: ModelFunction, class_names: tuple[str, ...] | None = None
) -> tuple[Params, Params, tuple[str, ...], str]:
    """Reads parameters and batch statistics to start training from.

    The classifier and the fully-connected layers before it are read if all their shapes are those
    of the model, and left out otherwise: `function.init(key)[0] | parameters` then has them freshly
    drawn. Where the classes of converted weights and those of the model have names, each class
    keeps its logit, and the head is left out unless they are the same.

    Args:
        path: a directory of converted weights, or a file that `load_weights` reads.
        function: the model to train.
        class_names: name of each of its classes, in the order of its logits; None: not known.

    Returns:
        Parameters, batch statistics, the paths of the parameters that were left out, and the
        settings of an arm in which the weights' model is another, in words.

    Raises:
        WeightsMismatch: arrays other than the classifier's are not those of the model.
        InputError: the directory or the file cannot be used, or is of a model that computes
            something else or is given images of another range.
    """
    path, model = Path(path), function.abstract()
    if kind_of("weights", path) == DIRECTORY:
        weights = read_weights(path)
        settings = weights.settings
        require_silent_settings(path, model, settings)
        _require_range_of_training(path, weights.preprocessing)
        values = _matching_values(path, weights, function, class_names)
    else:
        with open_source(path) as source:
            require_documented_range(path, source.layers, expected_by(source.kind))
            settings = require_same_computation(source, model)
            values = read_values(source, function, head=None)
    parameters, batch_stats = _split(function, values)
    left_out = [leaf.path for leaf in function.parameters if leaf.path not in values]
    return parameters, batch_stats, tuple(left_out), other_arm(model, settings)


def _require_range_of_training(path: Path, preprocessing: Preprocessing) -> None:
    """Raises `InputError` unless weights expect the range of images that training feeds."""
    if not np.allclose((preprocessing.mean, preprocessing.std), 0.5, rtol=1e-5, atol=1e-7):
        reason = (
            f"expect images scaled by the mean {preprocessing.mean} and the standard deviation "
            f"{preprocessing.std}, and training feeds -1 to 1 (0.5 and 0.5 for each channel), "
            "which no setting changes: they serve predict, evaluate and export alone"
        )
        raise InputError("weights", str(path), reason)


def _split(function: ModelFunction, values: Params) -> tuple[Params, Params]:
    parameters, batch_stats = (
        {leaf.path: values[leaf.path] for leaf in leaves if leaf.path in values}
        for leaves in (function.parameters, function.batch_stats)
    )
    return parameters, batch_stats


def _matching_values(
    path: Path, weights: Weights, function: ModelFunction, class_names: tuple[str, ...] | None
) -> Params:
    """The converted weights by path, without the head unless all of it fits the model."""
    values = {**weights.parameters, **weights.batch_stats}
    shapes = {leaf.path: leaf.shape for leaf in (*function.parameters, *function.batch_stats)}
    stored_shapes = {name: np.shape(value) for name, value in values.items()}
    head = {name for name in (*values, *shapes) if is_head(name)}
    fits = all(stored_shapes.get(name) == shapes.get(name) for name in head)
    positions = _positions(weights.class_names, class_names)
    if fits and positions is not None:
        classifier = {name: values[name] for name in head if name.startswith("classifier/")}
        values |= {name: value[..., positions] for name, value in classifier.items()}
    else:
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


def _positions(
    of_weights: tuple[str, ...] | None, of_model: tuple[str, ...] | None
) -> slice | np.ndarray | None:
    """The logits of the weights in the order of the model's classes; None: they have others."""
    if of_weights is None or of_model is None:
        return slice(None)
    if set(of_weights) != set(of_model):
        return None
    return class_positions(of_weights, of_model, "")
