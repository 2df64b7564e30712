"""What took long to find out and can be found out anew: one JSON file for each, in a cache."""

import json
from pathlib import Path
from typing import Any

from xception_jax.config import read_json
from xception_jax.errors import InputError
from xception_jax.runtime import run_directory as files


def recall(path: Path | None) -> dict[str, Any]:
    """What was noted in `path`; empty where there is nothing, or nothing that can be read."""
    try:
        return {} if path is None else read_json(path)
    except InputError:
        return {}


def remember(path: Path | None, content: dict[Any, Any]) -> None:
    """Notes `content` in `path`, if there is one and it can be written."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, json.dumps(content))
    except OSError:  # the next time it is found out anew
        return
