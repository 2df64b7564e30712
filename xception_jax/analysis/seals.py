"""What a run left and is no longer so: damaged, or edited by someone."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xception_jax.analysis.values import as_mapping
from xception_jax.config import is_as_sealed


def changed_since(directory: Path, record: Mapping[str, Any]) -> list[str]:
    """A line for each file of a run that is not what the run says it left.

    Args:
        directory: of the run.
        record: its `run.json`. A run of a version that recorded no digests gives no lines.
    """
    found = [] if is_as_sealed(record) else ["run.json was changed after the run wrote it"]
    for name, expected in as_mapping(record.get("files")).items():
        try:
            content = (directory / Path(str(name)).name).read_bytes()
        except OSError as error:
            found.append(f"{name}, which the run left, cannot be read: {error.strerror}")
            continue
        if hashlib.sha256(content).hexdigest() != expected:
            found.append(f"{name} was changed after the run wrote it")
    return [f"{directory.name}/{line}" for line in found]
