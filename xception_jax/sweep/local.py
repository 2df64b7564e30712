"""Runs of a sweep in this process: together as far as they can, one pack after another."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xception_jax.errors import InputError
from xception_jax.sweep.experiment import Experiment, PlannedRun
from xception_jax.sweep.ledger import read_packs, record_packs
from xception_jax.sweep.packing import Sizes, plan_packs
from xception_jax.training import Interrupted, Labels, Progress, Run, train_together
from xception_jax.training import run_directory as files
from xception_jax.training.lock import is_locked
from xception_jax.training.mesh import make_mesh
from xception_jax.training.setup import make_program, make_schedule, open_data


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
                make_program(run.config, pipeline.info, mesh)
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
    records = [_planned(directory / run.directory, run) for run in runs]
    waiting = [number for number, record in enumerate(records) if not _ended(record)]
    recorded = read_packs(directory)
    packs = plan_packs(directory, runs, waiting, recorded=recorded, sizes=sizes, warn=warn)
    record_packs(directory, [pack.row(runs) for pack in packs if pack.slots is not None])
    total = sum(steps[run.arm] for run in runs)
    left = sum(steps[runs[number].arm] for number in waiting)
    for pack in packs:
        going = [number for number in pack.numbers if not _ended(records[number])]
        members = tuple(runs[number] for number in going)
        if stop():
            raise Interrupted(f"stopped before {members[0].name}")
        here = SweepProgress(members, tuple(n + 1 for n in going), len(runs), total, left)

        def tell(progress: Progress, here: SweepProgress = here) -> None:
            left = here.steps_left - progress.step * len(here.members)
            listener(replace(here, steps_left=left, progress=progress))

        homes = [directory / runs[number].directory for number in pack.numbers]
        together = [
            Run(runs[number].config, home, _labels(runs[number], experiment))
            for number, home in zip(pack.numbers, homes, strict=True)
        ]
        try:
            ended = train_together(together, pack.slots, listener=tell, stop=stop, warn=warn)
        except Interrupted:
            raise
        except Exception as error:  # recorded with its reason; the others go on
            ended = [_failed(home, error) for home in homes]
        for number, record in zip(pack.numbers, ended, strict=True):
            records[number] = record
        for number in going:
            left -= steps[runs[number].arm]
            one = SweepProgress((runs[number],), (number + 1,), len(runs), total, left)
            listener(replace(one, ended=records[number]))
    return records


def _labels(run: PlannedRun, experiment: Experiment) -> Labels:
    return Labels(run.name, experiment.name, run.arm)


def _ended(record: Mapping[str, Any]) -> bool:
    return record["status"] in files.ENDED


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
    if (home / files.RUN).exists():
        return record
    return files.update_run(home, id=run.id, arm=run.arm, seed=run.seed, status="planned")


def _failed(home: Path, error: Exception) -> dict[str, Any]:
    """The record of a run that failed; not written where another process is training it."""
    if is_locked(home):
        return {"status": "failed", "reason": str(error)}
    if _ended(record := files.read_run(home)):  # before the others of its pack
        return record
    return files.record_failure(home, error)
