"""Weights from elsewhere: brought into a model of ours, and a start for training."""

import hashlib
from collections.abc import Iterable, Mapping
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
from xception_jax.pretrained.layers import layer_table

# Whatever else timm's Xception has in common with Keras's, it has PyTorch's batch normalization
# and padding of pools.
_SETTINGS = {TIMM: {"norm_epsilon": 1e-5, "norm_momentum": 0.9, "padding": "torch"}}
# What decides the output and no shape shows; see `settings_unlike`.
_UNSEEN = (
    "order", "intermediate_activation", "residual", "norm_epsilon", "padding",
)  # fmt: skip


def import_file(
    path: str | Path,
    *,
    model: str = "xception",
    source: str = "auto",
    overrides: Iterable[str] = (),
    head: bool = True,
    size: int = 299,
    class_names: tuple[str, ...] | None = None,
) -> Weights:
    """A weight file as a model of ours, as many classes as the file has.

    Args:
        path: see `load_weights`.
        model: the name of the model the weights are of.
        source: see `load_weights`.
        overrides: words such as `model.middle_modules=2`, of a model that is not the published one.
        head: False: the classifier is left out, whether or not the file has one.
        size: of the images it expects, pixels.
        class_names: of its logits.

    Raises:
        WeightsMismatch: the file's arrays are not those of the model; lists them.
        InputError: the file cannot be used, or a setting does not exist.
    """
    path = Path(path)
    with open_source(path, source) as opened:
        settings = checked_settings(model, _SETTINGS.get(opened.kind, {}), list(overrides))
        classes = _count_classes(opened, model, settings) if head else None
        require_class_names(class_names, classes)
        function = model_of(model, settings, classes)
        values = read_values(opened, function, head=head)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        parameters, batch_stats = _split(function, values)
        return Weights(
            model=model,
            settings=settings,
            num_classes=classes,
            preprocessing=expected_by(opened.kind, size),
            class_names=class_names,
            origin=Origin(path.name, opened.kind, sha256),
            parameters=parameters,
            batch_stats=batch_stats,
        )


def _count_classes(source: Source, model: str, settings: dict[str, Any]) -> int:
    function = model_of(model, settings, 1)
    bias = source.match(function, layer_table(function)).found.get("classifier/bias")
    return bias.shape[0] if bias is not None and len(bias.shape) == 1 and bias.shape[0] else 1000


def initial_from(
    path: str | Path, function: ModelFunction
) -> tuple[Params, Params, tuple[str, ...]]:
    """Parameters and batch statistics to start training from.

    The classifier, and fully-connected layers before it, are taken over if they are the model's in
    every shape, and otherwise left out, all of them: `function.init(key)[0] | parameters` has them
    freshly drawn.

    Args:
        path: a directory of converted weights, or a file that `load_weights` reads.
        function: the model that is to be trained.

    Returns:
        Parameters, statistics, and the paths of the parameters that were left out.

    Raises:
        WeightsMismatch: arrays other than the classifier's are not those of the model.
        InputError: the directory or the file cannot be used.
    """
    path = Path(path)
    if path.is_dir():
        values = _fitting(path, read_weights(path), function)
    else:
        with open_source(path) as source:
            values = read_values(source, function, head=None)
    parameters, batch_stats = _split(function, values)
    left_out = [leaf.path for leaf in function.parameters if leaf.path not in values]
    return parameters, batch_stats, tuple(left_out)


def settings_unlike(weights: Weights, settings: Mapping[str, Any]) -> list[str]:
    """Settings that differ from those the weights were trained with, and that no shape shows.

    To start from weights trained with another epsilon is possible, and seldom meant.
    """
    return [
        f"model.{name} is {settings[name]!r}, the weights are of {weights.settings[name]!r}"
        for name in _UNSEEN
        if name in settings and settings[name] != weights.settings.get(name)
    ]


def _split(function: ModelFunction, values: Params) -> tuple[Params, Params]:
    parameters, batch_stats = (
        {leaf.path: values[leaf.path] for leaf in leaves if leaf.path in values}
        for leaves in (function.parameters, function.batch_stats)
    )
    return parameters, batch_stats


def _fitting(path: Path, weights: Weights, function: ModelFunction) -> Params:
    """The weights that the model has too; the head whole or not at all."""
    values = {**weights.parameters, **weights.batch_stats}
    shapes = {leaf.path: leaf.shape for leaf in (*function.parameters, *function.batch_stats)}
    there = {name: np.shape(value) for name, value in values.items()}
    heads = {name for name in (*values, *shapes) if is_head(name)}
    if any(there.get(name) != shapes.get(name) for name in heads):
        values = {name: value for name, value in values.items() if name not in heads}
        shapes = {name: shape for name, shape in shapes.items() if name not in heads}
    missing = [name for name in shapes if name not in values]
    surplus = [name for name in values if name not in shapes]
    reshaped = [
        f"{name} {there[name]} instead of {shape}"
        for name, shape in shapes.items()
        if name in values and there[name] != shape
    ]
    if missing or surplus or reshaped:
        raise WeightsMismatch(path, missing=missing, surplus=surplus, reshaped=reshaped)
    return values
