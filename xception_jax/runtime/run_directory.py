"""The files of a run's directory: names, atomic writes, status, and which run it belongs to.

`config.json` says what the run is, `run.json` what became of it. Both are replaced whole, never
rewritten in place, so that neither a reader nor a kill ever leaves half a file. Curves and
checkpoints are written elsewhere.
"""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import threading
import traceback
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from xception_jax.checksums import with_checksum
from xception_jax.config import Config, canonical_json, flatten, read_json, resolve, run_id
from xception_jax.config.schema import SETTINGS
from xception_jax.errors import NO_SPACE, InputError
from xception_jax.json_values import as_real
from xception_jax.records import CHECKPOINTS, CONFIG, FAILURE, METRICS_LOG, RUN, STATUSES, SWEEP
from xception_jax.regular_files import inside, read_regular, write_regular
from xception_jax.runtime.source_code import commit, describe_code, uncommitted_changes

_LARGEST_PATCH = 2**20  # bytes; of a larger one only the digest is kept


def now() -> str:
    """The current time in UTC as ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file atomically: a reader sees the old content or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{threading.get_native_id()}.partial")
    data = content.encode() if isinstance(content, str) else content
    try:
        write_regular(partial, data)
        partial.replace(path)
    except BaseException:  # a full disk, an interrupt: a part of the file is of no use
        partial.unlink(missing_ok=True)
        raise


def read_run(directory: Path) -> dict[str, Any]:
    """Reads a run's `run.json`; a run that has not begun gives `{"status": "planned"}`.

    Raises:
        InputError: the file is damaged.
    """
    path = directory / RUN
    if not path.exists():
        return {"status": "planned"}
    try:
        record = read_json(path)
    except InputError as error:
        reason = f"{error.reason}; delete it to go on"
        raise InputError(error.field, error.value, reason) from error
    status, result = record.get("status"), record.get("result")
    if status not in STATUSES or (status == "done" and not _is_result(result)):
        raise InputError("file", str(path), "does not say how the run stands; delete it to go on")
    return record


def _is_result(result: Any) -> bool:
    return (
        isinstance(result, dict)
        and isinstance(result.get("split"), str)
        and isinstance(result.get("loss"), (int, float))  # which may be infinite
        and all(as_real(result.get(name)) is not None for name in ("examples", "top1", "top5"))
    )


def update_run(directory: Path, **changes: Any) -> dict[str, Any]:
    """Updates fields of a run's `run.json`; returns its new content, with its checksum."""
    content = with_checksum(read_run(directory) | changes)
    write_whole(directory / RUN, json.dumps(content, indent=2, sort_keys=True) + "\n")
    return content


def digests(directory: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 digests, by name, of those of the named files that exist."""
    return {
        name: hashlib.sha256(read_regular(directory / name)).hexdigest()
        for name in names
        if (directory / name).exists()
    }


def record_failure(directory: Path, error: Exception, **facts: Any) -> dict[str, Any]:
    """Records in `run.json` why a run failed, and writes the trace to `failure.txt`.

    Args:
        directory: directory of the run.
        error: what made it fail.
        facts: further fields of `run.json`.
    """
    trace = "".join(traceback.format_exception(error))
    return record_failed(directory, f"{type(error).__name__}: {error}", trace, **facts)


def record_failed(directory: Path, reason: str, trace: str, **facts: Any) -> dict[str, Any]:
    """Records a failure that is not an exception of this process; see `record_failure`."""
    failure = {"status": "failed", "reason": " ".join(reason.split())[:500], "ended": now()}
    changes = {**facts, **failure}
    try:
        write_whole(directory / FAILURE, trace)
        return update_run(directory, **changes)
    except OSError:  # the disk may be what failed; by its old record the run resumes next time
        return changes


def require_same_run(directory: Path, config: Config) -> None:
    """Checks that a directory holds the run that `config` describes, or is free for it.

    Nothing is created.

    Raises:
        InputError: the directory cannot be written, or holds a sweep or another run.
    """
    require_writable(directory)
    if (directory / SWEEP).exists():
        reason = "holds a sweep; a run needs a directory of its own"
        raise InputError("--workdir", str(directory), reason)
    path = directory / CONFIG
    if not path.exists() and read_run(directory).get("id", run_id(config)) != run_id(config):
        reason = f"holds another run, by the id in {RUN}; choose another directory"
        raise InputError("--workdir", str(directory), reason)
    if path.exists() and (difference := _difference(path, config)):
        reason = f"holds another run: {difference}; choose another directory"
        raise InputError("--workdir", str(directory), reason)


def require_writable(directory: Path) -> None:
    """Raises `InputError` unless `directory` can be written or created; creates nothing."""
    try:
        existing = next(p for p in (directory, *directory.absolute().parents) if p.exists())
    except (OSError, ValueError) as error:
        raise InputError("--workdir", str(directory), f"is no path: {error}") from error
    if not existing.is_dir():
        reason = "is a file" if existing == directory else f"lies below a file, {existing}"
        raise InputError("--workdir", str(directory), f"{reason}; a directory is needed")
    if not os.access(existing, os.W_OK | os.X_OK):
        reason = f"cannot be written: no permission in {existing}"
        raise InputError("--workdir", str(directory), reason)


def claim(directory: Path, config: Config) -> None:
    """Creates the directory of the run that `config` describes and writes its `config.json`.

    Raises:
        InputError: the directory holds something else, or cannot be written; or what the run writes
            into it would go elsewhere by a link.
        OSError: the disk is full.
    """
    require_same_run(directory, config)
    for name in (CHECKPOINTS, METRICS_LOG):  # other files are replaced, links or not
        inside(directory, name)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / CONFIG, canonical_json(config))
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        raise InputError("--workdir", str(directory), f"cannot be written: {error}") from error


def _difference(recorded: Path, config: Config) -> str:
    """Describes the settings of the run id in which two runs differ; empty if they are the same."""
    try:
        recorded_config = resolve(read_json(recorded))
    except InputError as error:  # written by a version with other fields, or damaged
        return f"its {recorded.name} is not valid here ({error})"
    if run_id(recorded_config) == run_id(config):
        return ""
    old, new = flatten(recorded_config), flatten(config)
    return ", ".join(
        f"{name} is {old[name]!r} there and {new[name]!r} here"
        for name in SETTINGS
        if SETTINGS[name].identity and old[name] != new[name]
    )


def keep_changes(directory: Path) -> Path | None:
    """Writes the changes that are in no commit into `directory`, as a patch.

    The name of the file has the start of its SHA-256, `code.changes` in `run.json`, so that every
    state of the code that took part is kept.

    Returns:
        The path of the patch; None: there are none, or they have more than 1 MiB.
    """
    changes = uncommitted_changes()
    if changes is None or len(changes) > _LARGEST_PATCH:
        return None
    path = directory / f"changes-{hashlib.sha256(changes).hexdigest()[:12]}.patch"
    if not path.exists():
        write_whole(path, changes)
    return path


def provenance() -> dict[str, Any]:
    """The versions of the libraries, the commit if there is one, and digests of the code."""
    return {"versions": versions(), "commit": commit(), "code": describe_code()}


@lru_cache
def versions() -> dict[str, str]:
    """The versions of Python, this package and the libraries that results depend on."""
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "xception-jax")
    installed = {"python": platform.python_version()}
    for name in names:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed[name] = "not installed"
    return installed
