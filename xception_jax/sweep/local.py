"""Runs of a sweep one after another in this process, so that they share compiled programs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xception_jax.errors import InputError
from xception_jax.sweep.experiment import Experiment, PlannedRun
from xception_jax.training import Interrupted, Labels, Progress, train
from xception_jax.training import run_directory as files
from xception_jax.training.mesh import make_mesh
from xception_jax.training.setup import make_program, make_schedule, open_data


@dataclass(frozen=True)
class SweepProgress:
    """Where a sweep stands.

    Attributes:
        run: the run at hand.
        number: of that run among those of the sweep, from 1.
        runs: of the sweep, those already done included.
        steps: optimizer steps of all runs together.
        steps_left: of those that remain.
        progress: of the run at hand.
        ended: `run.json`, where the run has just ended.
    """

    run: PlannedRun
    number: int
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

    Returns:
        `run.json` of every run, in order.

    Raises:
        InputError: a run's directory holds another run.
        Interrupted: `stop` said so; the run at hand has saved where it stands.
    """
    records = [_planned(directory / run.directory, run) for run in runs]
    waiting = [number for number, record in enumerate(records) if not _ended(record)]
    total = sum(steps[run.arm] for run in runs)
    left = sum(steps[runs[number].arm] for number in waiting)
    for number in waiting:
        run = runs[number]
        if stop():
            raise Interrupted(f"stopped before {run.name}")
        here = SweepProgress(run, number + 1, len(runs), total, left)
        home = directory / run.directory
        labels = Labels(run.name, experiment.name, run.arm)

        def tell(progress: Progress, here: SweepProgress = here) -> None:
            left = here.steps_left - progress.step
            listener(replace(here, steps_left=left, progress=progress))

        try:
            record = train(run.config, home, labels=labels, listener=tell, stop=stop, warn=warn)
        except Interrupted:
            raise
        except Exception as error:  # recorded with its reason; the others go on
            record = _failed(home, error)
        left -= steps[run.arm]
        listener(replace(here, steps_left=left, ended=record))
        records[number] = record
    return records


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
    if files.is_locked(home):
        return {"status": "failed", "reason": str(error)}
    return files.record_failure(home, error)
