"""Converted weights: a directory with a model's arrays and a description of what they are of.

`weights.json` says how the model is built, what images it expects and where the weights come from;
`arrays/` is written by Orbax. A directory is there whole or not at all, and each file of the arrays
is checked against its SHA-256 in the description before Orbax sees it.
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
from xception_jax.errors import InputError
from xception_jax.models import ModelFunction, model_function
from xception_jax.models.functional import Params
from xception_jax.pretrained import Preprocessing, is_head
from xception_jax.pretrained.arrays import restore_tree, save_tree
from xception_jax.runtime.run_directory import write_whole

DESCRIPTION, ARRAYS = "weights.json", "arrays"
_FORMAT = 1
_MOST_CLASSES = 10**6


@dataclass(frozen=True)
class Origin:
    """Where weights come from: the file's name, its kind and the SHA-256 of its bytes."""

    file: str
    kind: str
    sha256: str


@dataclass(frozen=True)
class Weights:
    """A model with trained values.

    Attributes:
        model: its name.
        settings: of `create_model`, but for the numbers of classes and channels.
        num_classes: logits; None: there is no classifier.
        preprocessing: what it expects of images.
        class_names: of its logits, where they are known.
        origin: where they come from.
        parameters: without those of the classifier where there is none.
        batch_stats: of batch normalization.
    """

    model: str
    settings: dict[str, Any]
    num_classes: int | None
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None
    origin: Origin
    parameters: Params
    batch_stats: Params

    def function(self) -> ModelFunction:
        """The model.

        Raises:
            InputError: it has no classifier, and so is not whole.
        """
        if self.num_classes is None:
            reason = "hold no classifier; they serve to start training from"
            raise InputError("weights", self.origin.file, reason)
        return model_of(self.model, self.settings, self.num_classes)

    def describe(self) -> dict[str, Any]:
        """What `weights.json` holds, but for the digest of the arrays."""
        return {
            "format": _FORMAT,
            "model": self.model,
            "settings": self.settings,
            "num_classes": self.num_classes,
            "preprocessing": self.preprocessing.to_dict(),
            "class_names": None if self.class_names is None else list(self.class_names),
            "source": vars(self.origin),
        }


def model_of(name: str, settings: dict[str, Any], num_classes: int | None) -> ModelFunction:
    """The model of a description; without a classifier it is built with one of one class."""
    return model_function(name, num_classes=num_classes or 1, **settings)


def checked_settings(name: str, settings: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """All settings of a model: the defaults, `settings` over them, `key=value` words over both.

    Raises:
        InputError: a field or a value that does not exist, or a word about something else.
    """
    for word in overrides:
        if not word.startswith("model.") or word.startswith("model.name="):
            raise InputError("override", word, "must be about model.…, and not about its name")
    config = resolve({"model": {**settings, "name": name}}, overrides=overrides)
    return {key: value for key, value in config.to_dict()["model"].items() if key != "name"}


def require_class_names(names: tuple[str, ...] | None, num_classes: int | None) -> None:
    """Raises `InputError` unless there is a name for each class, or there are none."""
    if names is not None and len(names) != num_classes:
        reason = f"there are {num_classes or 'no'} classes"
        raise InputError("class names", f"{len(names)} of them", reason)


def write_weights(directory: Path, weights: Weights) -> None:
    """Writes a directory that does not exist yet.

    Raises:
        InputError: it exists, or cannot be written.
    """
    if directory.exists():
        raise InputError("destination", str(directory), "exists; delete it or choose another")
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        tree = {"parameters": weights.parameters, "statistics": weights.batch_stats}
        save_tree(partial / ARRAYS, tree)
        description = weights.describe() | {"files": _digests(partial / ARRAYS)}
        text = json.dumps(description, indent=2, sort_keys=True, default=list)
        write_whole(partial / DESCRIPTION, text + "\n")
        partial.rename(directory)
    except OSError as error:
        raise InputError("destination", str(directory), f"cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_weights(directory: str | Path) -> Weights:
    """What `write_weights` wrote.

    Raises:
        InputError: it is no such directory, or is damaged; says which file.
    """
    directory = Path(directory)
    path = directory / DESCRIPTION
    if not path.is_file():
        reason = f"holds no {DESCRIPTION}; `xception-jax convert` makes such a directory"
        raise InputError("weights", str(directory), reason)
    described = read_json(path)
    try:
        empty = _described(described)
    except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError("file", str(path), f"is not valid: {_say(error)}") from error
    _require_whole(directory, described.get("files"))
    try:
        function = model_of(empty.model, empty.settings, empty.num_classes)
    except (InputError, TypeError) as error:
        raise InputError("file", str(path), f"is not valid: {_say(error)}") from error
    tree = _restored(directory / ARRAYS, function, without_head=empty.num_classes is None)
    return replace(empty, parameters=tree["parameters"], batch_stats=tree["statistics"])


def _require_whole(directory: Path, recorded: Any) -> None:
    """Raises `InputError` unless the arrays' files are those that were written, bit for bit."""
    try:
        there = _digests(directory / ARRAYS)
    except OSError as error:
        reason = f"cannot be read: {error}; convert it again"
        raise InputError("weights", str(directory / ARRAYS), reason) from error
    recorded = recorded if isinstance(recorded, dict) else {}
    for name in sorted({*recorded, *there}):
        if there.get(name) != recorded.get(name):
            state = "has changed" if name in there and name in recorded else "is missing"
            if name not in recorded:
                state = f"is not one that {DESCRIPTION} lists"
            raise InputError(
                "weights", str(directory / ARRAYS / name), f"{state}; convert the weights again"
            )


def _described(described: dict[str, Any]) -> Weights:
    """The description without the arrays. Its numbers decide what memory is taken: all checked."""
    if described.get("format") != _FORMAT:
        raise ValueError(f"format is {described.get('format')!r} instead of {_FORMAT}")
    classes, names = described["num_classes"], described["class_names"]
    if classes is not None and not (type(classes) is int and 1 <= classes <= _MOST_CLASSES):
        raise InputError("num_classes", classes, f"must be from 1 to {_MOST_CLASSES}, or null")
    if names is not None and not all(isinstance(name, str) for name in names):
        raise InputError("class_names", None, "must be text")
    names = None if names is None else tuple(names)
    require_class_names(names, classes)
    return Weights(
        model=str(described["model"]),
        settings=checked_settings(described["model"], dict(described["settings"]), []),
        num_classes=classes,
        preprocessing=Preprocessing.from_dict(described["preprocessing"]),
        class_names=names,
        origin=Origin(**{key: str(value) for key, value in described["source"].items()}),
        parameters={},
        batch_stats={},
    )


def _restored(arrays: Path, function: ModelFunction, *, without_head: bool) -> dict[str, Params]:
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
    except Exception as error:  # Orbax raises many kinds; each means the files are no use
        reason = f"cannot be read ({_say(error)}); convert it again"
        raise InputError("weights", str(arrays), reason) from error


def _say(error: Exception) -> str:
    said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())[:300]


def _digests(arrays: Path) -> dict[str, str]:
    """The SHA-256 of every file below a directory, by its path from there."""
    digests = {}
    for path in sorted(arrays.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                name = path.relative_to(arrays).as_posix()
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
