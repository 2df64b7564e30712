"""Checksums of records and files, by which later damage or editing shows."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xception_jax.errors import printable
from xception_jax.regular_files import read_regular

_FIELD = "sha256"


def digest(content: Any) -> str:
    """64 hex digits that name plain data: the SHA-256 of its JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the record that carries its own digest under `sha256`."""
    content = {name: value for name, value in record.items() if name != _FIELD}
    return content | {_FIELD: digest(content)}


def has_valid_checksum(record: Mapping[str, Any]) -> bool:
    """Whether a record has a checksum, and matches it."""
    return with_checksum(record) == record


def changed_files(directory: Path, record: Mapping[str, Any]) -> list[str]:
    """One line for each file of a run that differs from what the run recorded.

    Args:
        directory: the run's directory.
        record: its `run.json`; one without a checksum counts as changed.
    """
    lines = [] if has_valid_checksum(record) else ["run.json was changed after the run wrote it"]
    files = record.get("files")
    for name, expected in (files if isinstance(files, dict) else {}).items():
        try:
            content = read_regular(directory / Path(str(name)).name)
        except OSError as error:
            reason = f"which the run left, cannot be read: {error.strerror}"
            lines.append(f"{printable(name)}, {reason}")
            continue
        if hashlib.sha256(content).hexdigest() != expected:
            lines.append(f"{printable(name)} was changed after the run wrote it")
    return [f"{directory.name}/{line}" for line in lines]
