"""What to upload of a directory and what to delete in the store, and in which order.

The unit is a whole checkpoint. A run saves and deletes them while an upload lasts, so what changed
is frozen first, by links to the files. `plan` is pure. Wherever its steps stop, a run resumes from
what is in the store: no record or checkpoint speaks of what is not there, and no checkpoint is
deleted before others of its run are there.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from xception_jax.records import CHECKPOINTS, LOCK, METRICS_LOG, RUN, SWEEP
from xception_jax.remote.lease import NAME as LEASE

MARK = "_CHECKPOINT_METADATA"
"""The file of a checkpoint without which it is none: the last to come and the first to go."""

# Records speak of other files: they are read before those, and uploaded after them.
_RECORDS = (RUN, SWEEP)
_UNFINISHED = (".partial", ".tmp")
_ATTEMPTS = 10  # to see the checkpoints whole, while runs save and delete them

FileStates = dict[str, tuple[int, int]]
"""Size in bytes and modification time in nanoseconds of files, by name."""


class Step(NamedTuple):
    """Files to put into a store, in any order, or objects to delete, one after another."""

    action: Literal["put", "delete"]
    names: list[str]


def plan(states: FileStates, uploaded: FileStates) -> list[Step]:
    """The steps that make a store what `states` says; each begins when the one before has ended.

    A checkpoint that the run has deleted goes last, and only if the run has others, which are in
    the store by then. One that was saved anew goes first: it would be a mixture for a while.

    Args:
        states: the files to be in the store.
        uploaded: the files that are in it, as they were when they were uploaded.
    """
    changed = [name for name, state in states.items() if uploaded.get(name) != state]
    anew = {checkpoint_of(name) for name in changed if _is_mark(name)}
    whole = {checkpoint_of(name) for name in states}  # None as well: of the files that are in none
    runs = {_run_of(checkpoint) for checkpoint in whole if checkpoint}
    first, last = [], []
    for name in sorted(uploaded, key=_is_mark, reverse=True):
        checkpoint = checkpoint_of(name)
        if checkpoint in anew:
            first += [name] * (_is_mark(name) or name not in states)
        elif checkpoint is None:
            last += [name] * (name not in states)
        elif checkpoint not in whole and _run_of(checkpoint) in runs:
            last.append(name)
    stages: list[list[str]] = [[], [], [], []]
    for name in changed:
        stages[_stage(name)].append(name)
    steps = [Step("delete", first), *(Step("put", names) for names in stages), Step("delete", last)]
    return [step for step in steps if step.names]


def _stage(name: str) -> int:
    """When a file is uploaded: logs, of which checkpoints hold a digest; then these; records."""
    if _is_log(name):
        return 0
    if _is_record(name):
        return 3
    return 2 if _is_mark(name) else 1


@contextmanager
def frozen(local: Path, uploaded: FileStates, directory: Path) -> Iterator[FileStates]:
    """Freezes what was changed below `local` since it was uploaded; yields the states for `plan`.

    Args:
        local: the directory of the files.
        uploaded: the files that were uploaded, as they were then.
        directory: where the frozen files lie meanwhile, on the same file system as `local`.
    """
    try:
        for _ in range(_ATTEMPTS):
            shutil.rmtree(directory, ignore_errors=True)
            states, missed = _freeze(local, uploaded, directory)
            if not missed:
                break
        yield {name: state for name, state in states.items() if checkpoint_of(name) not in missed}
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _freeze(local: Path, uploaded: FileStates, directory: Path) -> tuple[FileStates, set[str]]:
    """The states of all files, and the checkpoints that were being deleted meanwhile."""

    def stays(name: str, state: tuple[int, int]) -> bool:
        try:
            if uploaded.get(name) != state:
                _link(local / name, directory / name, lines=_is_log(name))
        except FileNotFoundError:  # deleted meanwhile
            return False
        return True

    before = {name: state for name, state in file_states(local).items() if _is_record(name)}
    states = {name: state for name, state in before.items() if stays(name, state)}
    before = {name: state for name, state in file_states(local).items() if not _is_record(name)}
    # A log read from here on has all rows that a checkpoint in `before` holds a digest of.
    states |= {name: state for name, state in before.items() if stays(name, state)}
    changed = defaultdict(set)
    for name, state in before.items():
        if (checkpoint := checkpoint_of(name)) and uploaded.get(name) != state:
            changed[checkpoint].add(name)
    missed = {
        checkpoint
        for checkpoint, names in changed.items()
        if not names <= {f"{checkpoint}/{name}" for name in file_states(local / checkpoint)}
    }
    return states, missed


def _link(path: Path, link: Path, *, lines: bool) -> None:
    """Makes `link` what `path` is now; with `lines`, up to its last whole line."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if lines:
        content = path.read_bytes()
        link.write_bytes(content[: content.rfind(b"\n") + 1])
        return
    try:
        link.hardlink_to(path)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copyfile(path, link)


def file_states(local: Path) -> FileStates:
    """The states of the files below `local` that belong into a store; those of whole checkpoints.

    Beside checkpoints lie those that are being saved, and what is being deleted has no mark.
    """
    states: FileStates = {}
    for folder, _, files in os.walk(local):
        for file in files:
            path = Path(folder, file)
            is_local = file == LEASE or file.startswith(LOCK) or file.endswith(_UNFINISHED)
            if is_local or path.is_symlink():
                continue
            with suppress(FileNotFoundError):
                stat = path.stat()
                states[path.relative_to(local).as_posix()] = stat.st_size, stat.st_mtime_ns

    def belongs(name: str) -> bool:
        checkpoint = checkpoint_of(name)
        if checkpoint is None:
            return CHECKPOINTS not in name.split("/")[:-1]
        return f"{checkpoint}/{MARK}" in states

    return {name: state for name, state in states.items() if belongs(name)}


def checkpoint_of(name: str) -> str | None:
    """The directory of the checkpoint that a file belongs to; None: it belongs to none."""
    parts = name.split("/")
    for index, part in enumerate(parts[:-2]):
        if part == CHECKPOINTS and parts[index + 1].isdecimal():
            return "/".join(parts[: index + 2])
    return None


def _run_of(checkpoint: str) -> PurePosixPath:
    return PurePosixPath(checkpoint).parent


def _is_mark(name: str) -> bool:
    return name == f"{checkpoint_of(name)}/{MARK}"


def _is_log(name: str) -> bool:
    return PurePosixPath(name).name == METRICS_LOG


def _is_record(name: str) -> bool:
    return PurePosixPath(name).name in _RECORDS
