"""A cache on disk of measurements that take long and can be repeated: one JSON file for each."""

import json
from pathlib import Path
from typing import Any

from xception_jax.config import read_json
from xception_jax.errors import InputError
from xception_jax.runtime import run_directory as files


def load(path: Path | None) -> dict[str, Any]:
    """The content that was stored at `path`; empty if there is none, or none that is readable."""
    try:
        return {} if path is None else read_json(path)
    except InputError:
        return {}


def store(path: Path | None, content: dict[Any, Any]) -> None:
    """Stores `content` at `path`; does nothing without a path, or where it cannot be written."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, json.dumps(content))
    except OSError:  # it will be measured again
        return
