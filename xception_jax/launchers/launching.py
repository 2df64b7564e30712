"""Units of a sweep for worker processes: recorded, submitted, and watched through their files."""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xception_jax.launchers import Launcher, Unit, unit_command
from xception_jax.launchers.supervision import Supervisor
from xception_jax.records import ENDED, METRICS_LOG
from xception_jax.runtime import run_directory as files
from xception_jax.sweep.experiment import PlannedRun
from xception_jax.sweep.ledger import record_packs
from xception_jax.sweep.local import Listener, SweepProgress, plan_missing
from xception_jax.sweep.packing import Sizes
from xception_jax.training import Progress

LOGS = "workers"
_LOOK_SECONDS = 1.0  # between two looks at the files of the runs at hand
_SPEED_SECONDS = 60.0  # over which a speed is taken: a run logs its steps now and then
_TAIL = 2048  # bytes, more than a row


def plan_units(
    directory: Path,
    runs: Sequence[PlannedRun],
    *,
    sizes: Sizes | None,
    warn: Callable[[str], None],
) -> list[Unit]:
    """The units with a run that has not ended, recorded in `sweep.json` for their workers.

    See `local.run_missing`.

    Raises:
        InputError: a run's directory holds another run.
    """
    _, packs = plan_missing(directory, runs, sizes=sizes, warn=warn)
    numbers = record_packs(directory, [pack.row(runs) for pack in packs])
    home = directory.absolute()
    (home / LOGS).mkdir(exist_ok=True)
    return [
        _unit(home, number, [runs[n] for n in pack.numbers])
        for number, pack in zip(numbers, packs, strict=True)
    ]


def _unit(directory: Path, number: int, runs: Sequence[PlannedRun]) -> Unit:
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return Unit(
        number,
        runs[0].name + more,
        tuple(directory / run.directory for run in runs),
        (*unit_command(directory), str(number)),
        directory / LOGS / f"{number}.log",
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
    """Does what `local.run_missing` does by worker processes of a launcher, which it closes.

    A unit that fails is tried again so many times: see `Supervisor`.

    Returns:
        `run.json` of every run, in order.

    Raises:
        InputError: a run's directory holds another run.
        Stopped: see `Supervisor.run`.
    """
    try:
        units = plan_units(directory, runs, sizes=sizes, warn=warn)
        watch = _Watch(directory.absolute(), runs, steps, units, listener)
        Supervisor(units, launcher, retries=retries, warn=warn, tell=watch).run(stop)
    finally:
        launcher.close()
    return [files.read_run(directory / run.directory) for run in runs]


class _Watch:
    """Tells a listener where the runs of the submitted units stand, from what they have written."""

    def __init__(
        self,
        directory: Path,
        runs: Sequence[PlannedRun],
        steps: Mapping[str, int],
        units: Sequence[Unit],
        listener: Listener,
    ) -> None:
        self._runs, self._listener = runs, listener
        self._homes = [directory / run.directory for run in runs]
        self._numbers = {home: number for number, home in enumerate(self._homes)}
        self._steps = [steps[run.arm] for run in runs]
        # Of a pack that goes on some runs may have ended: told of already.
        self._missing = {
            number
            for unit in units
            for home in unit.run_dirs
            if self._record(number := self._numbers[home])["status"] not in ENDED
        }
        self._taken = [
            (_last_row(home / METRICS_LOG) or {"step": 0})["step"] if n in self._missing else whole
            for n, (home, whole) in enumerate(zip(self._homes, self._steps, strict=True))
        ]
        self._at_hand: set[int] = set()
        self._next = 0.0
        self._images: deque[tuple[float, int]] = deque()

    def __call__(self, going: Sequence[Unit]) -> None:
        now = time.monotonic()
        run_dirs = {self._numbers[home]: home for unit in going for home in unit.run_dirs}
        for number in self._ended_since(run_dirs):
            self._tell((number,), ended=self._record(number))
        if now < self._next or not going:
            return
        self._next = now + _LOOK_SECONDS
        rows = {
            number: row
            for number, home in run_dirs.items()
            if number in self._missing and (row := _last_row(home / METRICS_LOG))
        }
        for number, row in rows.items():
            self._taken[number] = max(self._taken[number], row["step"])
        if at_hand := tuple(sorted(number for number in run_dirs if number in self._missing)):
            self._tell(at_hand, progress=self._progress(now, rows, len(at_hand)))

    def _ended_since(self, going: Mapping[int, Path]) -> list[int]:
        """Runs that have ended since the last look, of units that are no longer at hand."""
        looked = self._missing & self._at_hand - set(going)
        self._at_hand = set(going)
        ended = [n for n in looked if self._record(n)["status"] in ENDED]
        for number in ended:
            self._missing.discard(number)
            self._taken[number] = self._steps[number]
        return sorted(ended)

    def _record(self, number: int) -> dict[str, Any]:
        return files.read_run(self._homes[number])

    def _tell(self, numbers: tuple[int, ...], **what: Any) -> None:
        total, places = sum(self._steps), tuple(number + 1 for number in numbers)
        runs, left = tuple(self._runs[n] for n in numbers), total - sum(self._taken)
        self._listener(SweepProgress(runs, places, len(self._runs), total, left, **what))

    def _progress(self, now: float, rows: Mapping[int, dict[str, Any]], running: int) -> Progress:
        """The mean of the runs at hand; their speed together."""
        if not rows:
            return Progress("compile", 0, 1, 0.0, None, None)
        split = next(iter(rows.values()))["split"]
        alike = [row for row in rows.values() if row["split"] == split]
        names = {"top1", "map100"}.intersection(*alike)
        means = {name: sum(row[name] for row in alike) / len(alike) for name in names}
        epoch, step = (sum(row[k] for row in rows.values()) / running for k in ("epoch", "step"))
        total = sum(self._steps[number] for number in rows) / len(rows)
        row = {"split": split, **means} if means else None
        return Progress("train", round(step), round(total), epoch, self._speed(now), row)

    def _speed(self, now: float) -> float | None:
        """Images per second of all runs, over the last minute."""
        images = sum(
            taken * run.config.train.batch_size
            for taken, run in zip(self._taken, self._runs, strict=True)
        )
        self._images.append((now, images))
        while self._images[-1][0] - self._images[0][0] > _SPEED_SECONDS:
            self._images.popleft()
        (first, before), (last, after) = self._images[0], self._images[-1]
        return (after - before) / (last - first) if after > before else None


def _last_row(path: Path) -> dict[str, Any] | None:
    """The newest whole row of a log that another process writes."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:  # torn, at either end of what was read
            continue
        if isinstance(row, dict) and {"step", "epoch", "split"} <= set(row):
            return row
    return None
