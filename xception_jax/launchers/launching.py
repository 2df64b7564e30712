"""Training of a sweep's missing runs by a launcher, with progress read from the runs' files."""

import os
import time
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from xception_jax.json_values import as_real
from xception_jax.launchers import Launcher, Unit, unit_command
from xception_jax.launchers.supervision import Supervisor, read_or_failed
from xception_jax.records import ENDED, METRICS_LOG
from xception_jax.regular_files import inside, open_for_reading
from xception_jax.runtime import run_directory as files
from xception_jax.sweep.experiment import PlannedRun
from xception_jax.sweep.ledger import record_packs
from xception_jax.sweep.local import Listener, SweepProgress, plan_missing
from xception_jax.sweep.packing import Sizes
from xception_jax.tracking import parse_row
from xception_jax.training import Progress

LOGS = "workers"
_POLL_SECONDS = 1.0  # between two readings of the files of active runs
_SPEED_SECONDS = 60.0  # window of the mean speed: a run logs its steps only now and then
_TAIL = 2048  # bytes, more than a row
_METRICS = ("top1", "map100")


def plan_units(
    directory: Path,
    runs: Sequence[PlannedRun],
    *,
    sizes: Sizes | None,
    warn: Callable[[str], None],
    queued: Container[int] = (),
) -> list[Unit]:
    """Plans the units that have unfinished runs and records them in `sweep.json` for the workers.

    The arguments are those of `local.plan_missing`.

    Raises:
        InputError: a run's directory holds another run, or a log leads out of the sweep by a link.
    """
    _, packs = plan_missing(directory, runs, sizes=sizes, warn=warn, queued=queued)
    numbers = record_packs(directory, [pack.row(runs) for pack in packs])
    absolute = directory.absolute()
    inside(absolute, LOGS).mkdir(exist_ok=True)
    return [
        _unit(absolute, number, [runs[index] for index in pack.indices])
        for number, pack in zip(numbers, packs, strict=True)
    ]


def _unit(directory: Path, number: int, runs: Sequence[PlannedRun]) -> Unit:
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return Unit(
        number,
        runs[0].name + more,
        tuple(directory / run.directory for run in runs),
        (*unit_command(directory), str(number)),
        inside(directory, f"{LOGS}/{number}.log"),
    )


def launch_missing(
    directory: Path,
    runs: Sequence[PlannedRun],
    steps: Mapping[str, int],
    launcher: Launcher,
    *,
    retries: int,
    listener: Listener,
    stop: Callable[[], bool],
    warn: Callable[[str], None],
    sizes: Sizes | None,
) -> list[dict[str, Any]]:
    """Trains all unfinished runs as `local.run_missing` does, but in a launcher's processes.

    Args:
        directory: directory of the sweep.
        runs: all runs of the sweep.
        steps: number of training steps of each arm's runs.
        launcher: the launcher; it is closed at the end.
        retries: number of times that a failed unit is retried.
        listener: function called with the progress of the sweep.
        stop: function that returns whether to stop; it is called several times a second.
        warn: function called with a line of text for the user.
        sizes: function that chooses the sizes of packs; None for no packs.

    Returns:
        The content of `run.json` of every run, in order.

    Raises:
        InputError: a run's directory holds another run.
        Interrupted: `stop` returned True; the active runs have saved checkpoints.
        Stopped: the sweep was given up, since all units failed in the same way.
    """
    try:
        units = plan_units(directory, runs, sizes=sizes, warn=warn)
        monitor = _ProgressMonitor(
            directory.absolute(), runs, steps, units, listener=listener, warn=warn
        )
        Supervisor(units, launcher, retries=retries, warn=warn, tell=monitor).run(stop)
    finally:
        launcher.close()
    return [files.read_run(directory / run.directory) for run in runs]


class _ProgressMonitor:
    """Reports the progress of submitted units to a listener, from the files of their runs."""

    def __init__(
        self,
        directory: Path,
        runs: Sequence[PlannedRun],
        steps: Mapping[str, int],
        units: Sequence[Unit],
        *,
        listener: Listener,
        warn: Callable[[str], None],
    ) -> None:
        self._runs, self._listener, self._warn = runs, listener, warn
        self._faulty: set[int] = set()
        self._run_dirs = [directory / run.directory for run in runs]
        self._indices = {run_dir: index for index, run_dir in enumerate(self._run_dirs)}
        self._total_steps = [steps[run.arm] for run in runs]
        # Some runs of a resumed pack may have ended already, and have been reported.
        self._unfinished = {
            index
            for unit in units
            for run_dir in unit.run_dirs
            if self._record(index := self._indices[run_dir])["status"] not in ENDED
        }
        self._done_steps = [
            (self._last_row(index) or {"step": 0})["step"]
            if index in self._unfinished
            else self._total_steps[index]
            for index in range(len(runs))
        ]
        self._active: set[int] = set()
        self._next_poll = 0.0
        self._images: deque[tuple[float, int]] = deque()

    def __call__(self, submitted: Sequence[Unit]) -> None:
        now = time.monotonic()
        indices = {self._indices[run_dir] for unit in submitted for run_dir in unit.run_dirs}
        for index in self._newly_ended(indices):
            self._report((index,), ended=self._record(index))
        if now < self._next_poll or not submitted:
            return
        self._next_poll = now + _POLL_SECONDS
        active = tuple(sorted(indices & self._unfinished))
        rows = {index: row for index in active if (row := self._last_row(index))}
        for index, row in rows.items():
            self._done_steps[index] = max(self._done_steps[index], row["step"])
        if active:
            self._report(active, progress=self._progress(now, rows, len(active)))

    def _newly_ended(self, active: set[int]) -> list[int]:
        """The runs that have ended since the last call, of units that are no longer submitted."""
        left = self._unfinished & self._active - active
        self._active = active
        ended = sorted(index for index in left if self._record(index)["status"] in ENDED)
        for index in ended:
            self._unfinished.discard(index)
            self._done_steps[index] = self._total_steps[index]
        return ended

    def _record(self, index: int) -> dict[str, Any]:
        return read_or_failed(self._run_dirs[index])

    def _last_row(self, index: int) -> dict[str, Any] | None:
        """The last row of a run's log, at most of its last step; None if there is none.

        A fault is named once for each run: the process that trains it may yet write over it.
        """
        path = self._run_dirs[index] / METRICS_LOG
        row, fault = _last_row(path)
        if fault and index not in self._faulty:
            self._faulty.add(index)
            self._warn(f"{path} {fault}")
        return row and row | {"step": min(row["step"], self._total_steps[index])}

    def _report(self, indices: tuple[int, ...], **event: Any) -> None:
        total, numbers = sum(self._total_steps), tuple(index + 1 for index in indices)
        runs, left = tuple(self._runs[index] for index in indices), total - sum(self._done_steps)
        self._listener(SweepProgress(runs, numbers, len(self._runs), total, left, **event))

    def _progress(self, now: float, rows: Mapping[int, dict[str, Any]], running: int) -> Progress:
        """The mean progress of the active runs, and their total speed."""
        if not rows:
            return Progress("compile", 0, 1, 0.0, None, None)
        split = next(iter(rows.values()))["split"]
        same_split = [row for row in rows.values() if row["split"] == split]
        means = {
            name: sum(row[name] for row in same_split) / len(same_split)
            for name in _METRICS
            if all(as_real(row.get(name)) is not None for row in same_split)
        }
        epoch, step = (sum(row[k] for row in rows.values()) / running for k in ("epoch", "step"))
        total = sum(self._total_steps[index] for index in rows) / len(rows)
        row = {"split": split, **means} if means else None
        return Progress("train", round(step), round(total), epoch, self._speed(now), row)

    def _speed(self, now: float) -> float | None:
        """Images per second of all runs, over the last minute."""
        images = sum(
            steps * run.config.train.batch_size
            for steps, run in zip(self._done_steps, self._runs, strict=True)
        )
        self._images.append((now, images))
        while self._images[-1][0] - self._images[0][0] > _SPEED_SECONDS:
            self._images.popleft()
        (start, before), (end, after) = self._images[0], self._images[-1]
        return (after - before) / (end - start) if after > before else None


def _last_row(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The last row of a log that another process writes, and what is wrong after that row.

    The log may come from somebody else: rows that are none are passed over.
    """
    try:
        with open_for_reading(path) as file:
            start = max(0, file.seek(0, os.SEEK_END) - _TAIL)
            file.seek(start)
            lines = file.read(_TAIL).split(b"\n")
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"
    fault = None
    for line in reversed(lines[start > 0 : -1]):  # the first and the last may be cut off
        try:
            return parse_row(line), fault
        except ValueError as error:
            fault = fault or f"has a row that is passed over: {error}"
    return None, fault
