"""The status of each run of a sweep.

It is read from the run's own directory alone, so no other record can disagree with it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xception_jax.checksums import has_valid_checksum
from xception_jax.errors import InputError
from xception_jax.json_values import as_text, as_whole
from xception_jax.lock import is_locked
from xception_jax.records import ARCHIVED, RUN, SWEEP, stays_inside
from xception_jax.regular_files import directory_problem
from xception_jax.runtime import run_directory as files
from xception_jax.sweep.ledger import read_ledger
from xception_jax.sweep.tuning_runs import describe_point, read_tuning_rows


@dataclass(frozen=True)
class RunStatus:
    """The status of a run.

    Attributes:
        arm: arm of the run.
        seed: seed of the run; None: it does not say.
        status: the status in `run.json`; or "interrupted", where that is "running" but no process
            has locked the directory; or "unreadable", where the file is damaged.
        reason: the reason of the status, where there is one.
        record: the content of `run.json`.
    """

    arm: str
    seed: int | None
    status: str
    reason: str | None
    record: dict[str, Any]


def read_statuses(directory: Path) -> list[RunStatus]:
    """The status of every run of the sweep, or of the one run, in `directory`.

    Raises:
        InputError: there is neither a sweep nor a run, or `sweep.json` is damaged or cannot be
            read.
    """
    if (problem := directory_problem(directory)) is not None:
        raise InputError("directory", str(directory), problem)
    if (directory / SWEEP).exists():
        return [
            _status(row["arm"], row["seed"], directory / row["directory"])
            for row in list_runs(directory)
        ]
    if (directory / RUN).exists():
        record = files.read_run(directory)
        name = as_text(record.get("arm") or record.get("name")) or "-"
        return [_status(name, as_whole(record.get("seed")), directory)]
    raise InputError("directory", str(directory), "holds neither sweep.json nor run.json")


def list_runs(directory: Path) -> list[dict[str, Any]]:
    """Arm, seed and directory of every run of a sweep, those of its tuning first.

    Runs outside of the sweep are left out, see `list_strangers`.

    Raises:
        InputError: `sweep.json` or `tuning.json` is damaged.
    """
    return [row for row in _rows(directory) if stays_inside(row["directory"])]


def list_strangers(directory: Path) -> list[str]:
    """The directories outside of a sweep that it lists as those of its runs.

    Raises:
        InputError: `sweep.json` or `tuning.json` is damaged.
    """
    if not (directory / SWEEP).exists():
        return []
    named = [row["directory"] for row in _rows(directory)]
    return [name for name in named if not stays_inside(name)]


def _rows(directory: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_ledger(directory / SWEEP, all_inside=False)["runs"]
    tuning = [
        {**row, "arm": f"tuning {row['arm']} {describe_point(row['settings'])}"}
        for row in read_tuning_rows(directory, all_inside=False)
    ]
    return [*tuning, *rows]


def is_archived(directory: Path) -> bool:
    """Whether a directory holds an archive of a sweep, and none of its runs' own files.

    Raises:
        InputError: `sweep.json` is damaged.
    """
    path = directory / SWEEP
    is_there = directory_problem(directory) is None and path.exists()
    return is_there and ARCHIVED in read_ledger(path, all_inside=False)


def _status(arm: str, seed: int | None, directory: Path) -> RunStatus:
    try:
        record = files.read_run(directory)
    except (InputError, OSError) as error:  # damaged, or of somebody else
        return RunStatus(arm, seed, "unreadable", str(error), {})
    status, reason = record["status"], as_text(record.get("reason")) or None
    if not has_valid_checksum(record):
        reason = f"{reason}; " * bool(reason) + "run.json was changed after the run wrote it"
    if status == "running" and not is_locked(directory):
        status, reason = "interrupted", "the same command goes on with it"
    return RunStatus(arm, seed, status, reason, record)
