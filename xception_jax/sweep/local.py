"""Runs of a sweep in this process: together as far as they can, one pack after another."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xception_jax.errors import InputError
from xception_jax.records import ENDED, RUN, SWEEP
from xception_jax.runtime import run_directory as files
from xception_jax.runtime.lock import is_locked
from xception_jax.sweep.experiment import Experiment, PlannedRun
from xception_jax.sweep.ledger import read_packs, record_packs
from xception_jax.sweep.packing import Pack, Sizes, plan_packs
from xception_jax.sweep.recorded import load_recorded
from xception_jax.training import Interrupted, Labels, Progress, RunSpec, train_together
from xception_jax.training.setup import make_schedule, open_data, require_trainable
from xception_jax.training.sharding import make_mesh


@dataclass(frozen=True)
class SweepProgress:
    """Where a sweep stands.

    Attributes:
        members: the runs at hand.
        numbers: of those among the runs of the sweep, from 1.
        runs: of the sweep, those already done included.
        steps: optimizer steps of all runs together.
        steps_left: of those that remain.
        progress: of the runs at hand.
        ended: `run.json`, where a run has just ended.
    """

    members: tuple[PlannedRun, ...]
    numbers: tuple[int, ...]
    runs: int
    steps: int
    steps_left: int
    progress: Progress | None = None
    ended: dict[str, Any] | None = None


_AT_A_TIME = 16  # files written, each of which waits for the disk, or a file server

Listener = Callable[[SweepProgress], None]


def check_runs(runs: Sequence[PlannedRun]) -> dict[str, int]:
    """Checks every arm against its data, model and devices; compiles and trains nothing.

    Returns:
        the optimizer steps of a run of each arm.

    Raises:
        InputError: an arm that cannot run; the message names it.
    """
    mesh = make_mesh()
    steps: dict[str, int] = {}
    for run in runs:
        if run.arm in steps:
            continue
        try:
            with closing(open_data(run.config)) as pipeline:
                require_trainable(run.config, pipeline.info, mesh)
                steps[run.arm] = make_schedule(run.config, pipeline.info.examples["train"]).total
        except InputError as error:
            reason = f"{error.reason} (arm {run.arm!r})"
            raise InputError(error.field, error.value, reason, error.nearest) from error
    return steps


def run_missing(
    directory: Path,
    experiment: Experiment,
    runs: Sequence[PlannedRun],
    steps: Mapping[str, int],
    *,
    listener: Listener = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None],
    sizes: Sizes | None = None,
) -> list[dict[str, Any]]:
    """Trains every run that has not ended; a run that fails does not stop the others.

    Args:
        directory: of the sweep; the caller holds its lock.
        experiment: that the runs belong to.
        runs: all of the sweep's; those that are done or have diverged are left as they are.
        steps: of a run of each arm, as `check_runs` returns them.
        listener: told of every step and every end of a run.
        stop: asked before every step.
        warn: takes a line of text for people.
        sizes: how many runs train together, see `plan_packs`; None: each trains alone.

    Returns:
        `run.json` of every run, in order.

    Raises:
        InputError: a run's directory holds another run.
        Interrupted: `stop` said so; the runs at hand have saved where they stand.
    """
    records, packs = plan_missing(directory, runs, sizes=sizes, warn=warn)
    record_packs(directory, [pack.row(runs) for pack in packs if pack.slots is not None])
    total = sum(steps[run.arm] for run in runs)
    left = sum(steps[run.arm] for run, r in zip(runs, records, strict=True) if not _ended(r))
    for pack in packs:
        going = [number for number in pack.numbers if not _ended(records[number])]
        members = tuple(runs[number] for number in going)
        if stop():
            raise Interrupted(f"stopped before {members[0].name}")
        here = SweepProgress(members, tuple(n + 1 for n in going), len(runs), total, left)

        def tell(progress: Progress, here: SweepProgress = here) -> None:
            left = here.steps_left - progress.step * len(here.members)
            listener(replace(here, steps_left=left, progress=progress))

        run_dirs = [directory / runs[number].directory for number in pack.numbers]
        together = [
            RunSpec(runs[number].config, home, _labels(runs[number], experiment.name))
            for number, home in zip(pack.numbers, run_dirs, strict=True)
        ]
        ended = _train(together, pack.slots, listener=tell, stop=stop, warn=warn)
        for number, record in zip(pack.numbers, ended, strict=True):
            records[number] = record
        for number in going:
            left -= steps[runs[number].arm]
            one = SweepProgress((runs[number],), (number + 1,), len(runs), total, left)
            listener(replace(one, ended=records[number]))
    return records


def plan_missing(
    directory: Path,
    runs: Sequence[PlannedRun],
    *,
    sizes: Sizes | None,
    warn: Callable[[str], None],
) -> tuple[list[dict[str, Any]], list[Pack]]:
    """`run.json` of every run, and how those that have not ended are to train; see `run_missing`.

    Raises:
        InputError: a run's directory holds another run.
    """
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        records = list(pool.map(lambda run: _planned(directory / run.directory, run), runs))
    waiting = [number for number, record in enumerate(records) if not _ended(record)]
    recorded = read_packs(directory)
    return records, plan_packs(directory, runs, waiting, recorded=recorded, sizes=sizes, warn=warn)


def run_unit(
    directory: Path,
    number: int,
    *,
    listener: Listener,
    stop: Callable[[], bool],
    warn: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Trains the unit with this number among the packs of `sweep.json`; see `run_missing`.

    Nothing is written but in the directories of its runs.

    Returns:
        `run.json` of the unit's runs.

    Raises:
        InputError: there is no such unit, or the record is damaged.
        Interrupted: see `run_missing`.
    """
    sweep = load_recorded(directory / SWEEP)
    if not 0 <= number < len(sweep.packs):
        raise InputError("--unit", number, "is not recorded", max(0, len(sweep.packs) - 1))
    pack, rows = sweep.packs[number], {row["directory"]: row for row in sweep.rows}
    members = tuple(sweep.run(rows[name]) for name in pack["runs"])
    places = {name: place for place, name in enumerate(rows, 1)}
    numbers = tuple(places[name] for name in pack["runs"])

    def tell(progress: Progress) -> None:
        steps = progress.total_steps * len(members)
        left = steps - progress.step * len(members)
        listener(SweepProgress(members, numbers, len(rows), steps, left, progress))

    together = [
        RunSpec(run.config, directory / name, _labels(run, sweep.experiment.name))
        for run, name in zip(members, pack["runs"], strict=True)
    ]
    return _train(together, pack["size"], listener=tell, stop=stop, warn=warn)


def _train(
    together: Sequence[RunSpec],
    slots: int | None,
    *,
    listener: Callable[[Progress], None],
    stop: Callable[[], bool],
    warn: Callable[[str], None],
) -> list[dict[str, Any]]:
    """`run.json` of every run; what makes them fail is recorded there."""
    try:
        return train_together(together, slots, listener=listener, stop=stop, warn=warn)
    except Interrupted:
        raise
    except Exception as error:
        return [_failed(run.directory, error) for run in together]


def _labels(run: PlannedRun, experiment: str) -> Labels:
    return Labels(run.name, experiment, run.arm)


def _ended(record: Mapping[str, Any]) -> bool:
    return record["status"] in ENDED


def _planned(home: Path, run: PlannedRun) -> dict[str, Any]:
    """The record of a run in its home, which is made if need be and left alone if it has ended.

    Raises:
        InputError: the directory holds another run.
    """
    files.require_own(home, run.config)
    record = files.read_run(home)
    if _ended(record):
        return record
    files.claim(home, run.config)
    if (home / RUN).exists():
        return record
    return files.update_run(home, id=run.id, arm=run.arm, seed=run.seed, status="planned")


def _failed(home: Path, error: Exception) -> dict[str, Any]:
    """The record of a run that failed; not written where another process is training it."""
    if is_locked(home):
        return {"status": "failed", "reason": str(error)}
    if _ended(record := files.read_run(home)):  # before the others of its pack
        return record
    return files.record_failure(home, error)
