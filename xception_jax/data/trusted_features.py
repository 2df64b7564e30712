"""Checks `features.json` of a prepared data set, which names Python classes, before TFDS reads it.

TFDS imports the module of any class that the file names, and so runs its code. A data set from
somebody else may name only features of TFDS itself.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xception_jax.errors import InputError
from xception_jax.regular_files import read_regular

_FILE = "features.json"
_TRUSTED = "tensorflow_datasets.core.features."
_CLASS_KEYS = ("type", "pythonClassName", "python_class_name")
_MOST = 1 << 24  # bytes


def require_trusted_features(name: str, directory: Path) -> None:
    """Raises unless a prepared data set names TFDS's own features only.

    Args:
        name: name of the data set, as the user gave it.
        directory: directory of the prepared data set.

    Raises:
        InputError: the file is damaged, or names a class outside of TFDS.
    """
    path = directory / _FILE
    try:
        named = list(_classes(json.loads(read_regular(path, _MOST))))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("data.name", name, f"{path} cannot be read: {error}") from error
    foreign = next((kind for kind in named if not kind.startswith(_TRUSTED)), None)
    if foreign is not None:
        reason = f"{path} names {foreign[:100]!r}, which is no feature of TFDS; nothing was run"
        raise InputError("data.name", name, reason)


def _classes(content: Any) -> Iterator[str]:
    """Yields every class that a description of features names, also in JSON inside of its text."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key in _CLASS_KEYS and isinstance(value, str):
                yield value
            elif key == "json" and isinstance(value, str):
                yield from _classes(json.loads(value))
            else:
                yield from _classes(value)
    elif isinstance(content, list):
        for value in content:
            yield from _classes(value)
