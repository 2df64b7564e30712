"""Where the files of a sweep's runs are: in a directory of each run, or in an archive of them all.

`reading` makes the same of both, through a `Source`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from xception_jax.checksums import changed_files
from xception_jax.json_values import as_text, parse_json
from xception_jax.records import CONFIG, METRICS_LOG, PAIRING, RUN, RUNS, TUNING_RUNS
from xception_jax.regular_files import read_regular
from xception_jax.report.logs import read_curves
from xception_jax.statistics.predictions import Predictions, read_predictions
from xception_jax.statistics.results import UNREADABLE, Run

MAX_RECORD = 1 << 26
"""Limit of a JSON file, bytes."""


@dataclass(frozen=True)
class RunFiles:
    """What a run recorded; a record is None without its file, empty if it cannot be understood.

    Attributes:
        record: `run.json`.
        config: `config.json`.
        pairing: `pairing.json`.
        changed: one line for each of its files that was changed after the run wrote it.
    """

    record: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    pairing: dict[str, Any] | None = None
    changed: tuple[str, ...] = ()


class Source(Protocol):
    """What `reading` asks of the place where the files of runs are.

    Runs are named by their directory relative to the sweep's. Methods add a line to `notes` for
    whatever they leave out.
    """

    def directories(self) -> list[str]:
        """Every run that left a `run.json`, whether `sweep.json` lists it or not."""
        ...

    def record(self, directory: str) -> dict[str, Any]:
        """The `run.json` of a run, changed or not; empty where it cannot be understood."""
        ...

    def files(self, directory: str, notes: list[str]) -> RunFiles:
        """What a run recorded."""
        ...

    def curves(self, runs: Sequence[Run], notes: list[str]) -> pl.DataFrame:
        """The logs of all runs but those that are not used, with `logs.CURVE_SCHEMA`."""
        ...

    def predictions(self, run: Run) -> Predictions | None:
        """What a run said of each test example; None where that is not known."""
        ...


class RunDirectories:
    """The source of a sweep in progress or ended: its runs' own directories.

    Args:
        root: directory of the sweep.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def directories(self) -> list[str]:
        """See `Source`."""
        paths = [
            path
            for below in (RUNS, TUNING_RUNS)
            for path in sorted(self._root.glob(f"{below}/*/{RUN}"))
        ]
        names = (path.parent.relative_to(self._root).as_posix() for path in paths)
        return [name for name in names if name.isprintable()]  # no record lists another

    def record(self, directory: str) -> dict[str, Any]:
        """See `Source`."""
        return read_record(self._root / directory / RUN, []) or {}

    def files(self, directory: str, notes: list[str]) -> RunFiles:
        """See `Source`."""
        run_dir = self._root / directory
        record = read_record(run_dir / RUN, notes)
        return RunFiles(
            record=record,
            config=read_record(run_dir / CONFIG, notes),
            pairing=read_record(run_dir / PAIRING, notes),
            changed=tuple(changed_files(run_dir, record)) if record else (),
        )

    def curves(self, runs: Sequence[Run], notes: list[str]) -> pl.DataFrame:
        """See `Source`."""
        run_dirs = [
            None if run.status == UNREADABLE else self._root / run.directory for run in runs
        ]
        named = [(run_dir, run.arm, run.seed) for run_dir, run in zip(run_dirs, runs, strict=True)]
        rows, lost = read_curves(named, notes)
        notes += [
            f"{run.directory}/{METRICS_LOG}: {count} broken or repeated rows left out"
            for run, count in zip(runs, lost, strict=True)
            if count
        ]
        return rows

    def predictions(self, run: Run) -> Predictions | None:
        """See `Source`."""
        return read_predictions(self._root / run.directory, run.data)


def read_record(path: Path, notes: list[str]) -> dict[str, Any] | None:
    """The JSON object in a file; None if there is no file, empty if it cannot be understood."""
    name = f"{path.parent.name}/{path.name}"
    try:
        return parse_record(read_regular(path, MAX_RECORD), name, notes)
    except FileNotFoundError:
        return None
    except OSError as error:
        notes.append(f"{name} cannot be read: {as_text(error)}")
        return {}


def parse_record(content: bytes | str, name: str, notes: list[str]) -> dict[str, Any]:
    """The JSON object in the content of a file; empty, and a line in `notes`, if it is none."""
    try:
        record = parse_json(content)
    except ValueError as error:
        notes.append(f"{name} cannot be read: {as_text(error)}")
        return {}
    return record if isinstance(record, dict) else {}
