"""Directories of converted weights: a model's arrays and a description of the model.

`weights.json` says how the model is built, what images it expects and where the weights come from;
`arrays/` is written by Orbax. Directories are written atomically, and each file of the arrays is
checked against its SHA-256 in the description before Orbax reads it.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from xception_jax.config import read_json, resolve
from xception_jax.errors import InputError, one_line, refused, require_choice
from xception_jax.models import ModelFunction, model_function
from xception_jax.models.functional import Params
from xception_jax.pretrained import Preprocessing, is_head
from xception_jax.pretrained.arrays import restore_tree, save_tree
from xception_jax.pretrained.keras_config import PROBABILITIES, SOFTMAX
from xception_jax.pretrained.tensors import MAX_FILE_BYTES
from xception_jax.regular_files import FILE, kind_of, open_for_reading, require_small_tree
from xception_jax.runtime.run_directory import write_whole

DESCRIPTION, ARRAYS = "weights.json", "arrays"
_FORMAT = 1
_MAX_CLASSES = 10**6


@dataclass(frozen=True)
class Origin:
    """The file that weights come from: its name, its kind and the SHA-256 of its content."""

    file: str
    kind: str
    sha256: str


@dataclass(frozen=True)
class Weights:
    """A model's weights, and what is needed to use them.

    Attributes:
        model: name of the model.
        settings: arguments of `create_model` except for the numbers of classes and channels.
        num_classes: number of logits; None without a classifier.
        preprocessing: how images are prepared for the model.
        probabilities: what makes probabilities of its logits, one of `keras_config.PROBABILITIES`.
        class_names: name of each class, if known.
        origin: the file that the weights come from.
        parameters: trained parameters, except for those of a missing classifier.
        batch_stats: statistics of batch normalization.
    """

    model: str
    settings: dict[str, Any]
    num_classes: int | None
    preprocessing: Preprocessing
    probabilities: str
    class_names: tuple[str, ...] | None
    origin: Origin
    parameters: Params
    batch_stats: Params

    def function(self) -> ModelFunction:
        """The model as a pure function.

        Raises:
            InputError: the weights lack a classifier.
        """
        if self.num_classes is None:
            reason = "hold no classifier; they serve to start training from"
            raise InputError("weights", self.origin.file, reason)
        return model_of(self.model, self.settings, self.num_classes)

    def describe(self) -> dict[str, Any]:
        """The content of `weights.json` except for the digests of the arrays."""
        return {
            "format": _FORMAT,
            "model": self.model,
            "settings": self.settings,
            "num_classes": self.num_classes,
            "preprocessing": self.preprocessing.to_dict(),
            "probabilities": self.probabilities,
            "class_names": None if self.class_names is None else list(self.class_names),
            "source": vars(self.origin),
        }


def model_of(name: str, settings: dict[str, Any], num_classes: int | None) -> ModelFunction:
    """The model with a number of classes; for None it gets a classifier of one class."""
    return model_function(name, num_classes=num_classes or 1, **settings)


def checked_settings(name: str, settings: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """All settings of a model: defaults, updated with `settings`, then with `key=value` overrides.

    Raises:
        InputError: a setting or value does not exist, or an override is not one of the model's.
    """
    for override in overrides:
        if not override.startswith("model.") or override.startswith("model.name="):
            raise InputError("override", override, "must be about model.…, and not about its name")
    config = resolve({"model": {**settings, "name": name}}, overrides=overrides)
    return {key: value for key, value in config.to_dict()["model"].items() if key != "name"}


def require_class_names(names: tuple[str, ...] | None, num_classes: int | None) -> None:
    """Raises `InputError` unless there is one name for each class, or no names at all."""
    if names is not None and len(names) != num_classes:
        reason = f"there are {num_classes or 'no'} classes"
        raise InputError("class names", f"{len(names)} of them", reason)


def write_weights(directory: Path, weights: Weights) -> None:
    """Writes weights to a new directory.

    Raises:
        InputError: the directory exists, or cannot be written.
        OSError: the disk is full.
    """
    if kind_of("destination", directory):
        raise InputError("destination", str(directory), "exists; delete it or choose another")
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    try:
        with refused("destination", str(directory), "cannot be written"):
            shutil.rmtree(partial, ignore_errors=True)  # of a killed process of this number
            partial.mkdir(parents=True)
            tree = {"parameters": weights.parameters, "statistics": weights.batch_stats}
            save_tree(partial / ARRAYS, tree)
            description = weights.describe() | {"files": _digests(partial / ARRAYS)}
            text = json.dumps(description, indent=2, sort_keys=True, default=list)
            write_whole(partial / DESCRIPTION, text + "\n")
            partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_weights(directory: str | Path) -> Weights:
    """Reads weights from a directory that `write_weights` wrote.

    Raises:
        InputError: it is not such a directory, or one of its files is damaged; names the file.
    """
    directory = Path(directory)
    path = directory / DESCRIPTION
    if kind_of("weights", path) != FILE:
        reason = f"holds no {DESCRIPTION}; `xception-jax convert` makes such a directory"
        raise InputError("weights", str(directory), reason)
    description = read_json(path)
    try:
        weights = _parse(description)
    except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError("file", str(path), f"is not valid: {_message(error)}") from error
    _require_intact(directory, description.get("files"))
    try:
        function = model_of(weights.model, weights.settings, weights.num_classes)
    except (InputError, TypeError) as error:
        raise InputError("file", str(path), f"is not valid: {_message(error)}") from error
    tree = _restore(directory / ARRAYS, function, without_head=weights.num_classes is None)
    return replace(weights, parameters=tree["parameters"], batch_stats=tree["statistics"])


def _require_intact(directory: Path, recorded: Any) -> None:
    """Raises `InputError` unless the files of the arrays are, bit for bit, the recorded ones."""
    try:
        digests = _digests(directory / ARRAYS)
    except OSError as error:
        reason = f"cannot be read: {error}; convert it again"
        raise InputError("weights", str(directory / ARRAYS), reason) from error
    recorded = recorded if isinstance(recorded, dict) else {}
    for name in sorted({*recorded, *digests}):
        if digests.get(name) != recorded.get(name):
            state = "has changed" if name in digests and name in recorded else "is missing"
            if name not in recorded:
                state = f"is not one that {DESCRIPTION} lists"
            raise InputError(
                "weights", str(directory / ARRAYS / name), f"{state}; convert the weights again"
            )


def _parse(description: dict[str, Any]) -> Weights:
    """The weights of a description, still without arrays.

    All values are checked, since they decide how much memory is allocated.
    """
    if description.get("format") != _FORMAT:
        raise ValueError(f"format is {description.get('format')!r} instead of {_FORMAT}")
    classes, names = description["num_classes"], description["class_names"]
    if classes is not None and not (type(classes) is int and 1 <= classes <= _MAX_CLASSES):
        raise InputError("num_classes", classes, f"must be from 1 to {_MAX_CLASSES}, or null")
    if names is not None and not all(isinstance(name, str) for name in names):
        raise InputError("class_names", None, "must be text")
    names = None if names is None else tuple(names)
    require_class_names(names, classes)
    probabilities = description.get("probabilities", SOFTMAX)  # older versions do not say it
    require_choice("probabilities", probabilities, PROBABILITIES)
    return Weights(
        model=str(description["model"]),
        settings=checked_settings(description["model"], dict(description["settings"]), []),
        num_classes=classes,
        preprocessing=Preprocessing.from_dict(description["preprocessing"]),
        probabilities=probabilities,
        class_names=names,
        origin=Origin(**{key: str(value) for key, value in description["source"].items()}),
        parameters={},
        batch_stats={},
    )


def _restore(arrays: Path, function: ModelFunction, *, without_head: bool) -> dict[str, Params]:
    shapes = {
        "parameters": {
            leaf.path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
            for leaf in function.parameters
            if not (without_head and is_head(leaf.path))
        },
        "statistics": {
            leaf.path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in function.batch_stats
        },
    }
    try:
        return jax.tree.map(jnp.asarray, restore_tree(arrays, shapes))
    except Exception as error:  # Orbax raises many kinds; each means that the files are unusable
        reason = f"cannot be read ({_message(error)}); convert it again"
        raise InputError("weights", str(arrays), reason) from error


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else one_line(error)


def _digests(arrays: Path) -> dict[str, str]:
    """The SHA-256 of every file below a directory, by its relative path."""
    require_small_tree(arrays, MAX_FILE_BYTES)
    digests = {}
    for path in sorted(arrays.rglob("*")):
        if path.is_file():
            with open_for_reading(path) as file:
                name = path.relative_to(arrays).as_posix()
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
