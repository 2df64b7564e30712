"""The part of `sweep` that tunes the arms before the verdict's runs are trained."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xception_jax.commands.console import console, warn
from xception_jax.commands.execution import Execution, count_statuses
from xception_jax.commands.process import interrupted
from xception_jax.errors import DONE, FAILED, InputError

if TYPE_CHECKING:
    from xception_jax.config import Config
    from xception_jax.launchers import Launcher
    from xception_jax.launchers.slurm import SlurmArray
    from xception_jax.sweep import Experiment
    from xception_jax.sweep.experiment import PlannedSweep
    from xception_jax.sweep.tuning_runs import TuningRun


class Unfinished(Exception):
    """Tuning has not come to its end; `code` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


def read_tuned(
    directory: Path, planned: "PlannedSweep", warn: Callable[[str], None]
) -> "PlannedSweep":
    """The sweep with what was chosen for its arms in this directory; without runs while they wait.

    Args:
        directory: directory of the sweep.
        planned: the sweep, tuned by its record or not at all.
        warn: takes a line of text for people.
    """
    from xception_jax.sweep.experiment import PlannedSweep, plan_sweep
    from xception_jax.sweep.tuning import with_recorded_tuning

    experiment, base, _ = planned
    if not experiment.untuned:  # there is nothing to tune, or its record has the runs
        return planned
    experiment = with_recorded_tuning(directory, experiment, base, warn)
    return (
        PlannedSweep(experiment, base, []) if experiment.untuned else plan_sweep(experiment, base)
    )


def require_tunable(planned: "PlannedSweep") -> None:
    """Raises `InputError` if a tuning run of an arm that is not tuned yet cannot be trained."""
    from xception_jax.sweep.local import check_tuning
    from xception_jax.sweep.tuning_runs import tuning_runs

    experiment, base, _ = planned
    if experiment.untuned:
        check_tuning(tuning_runs(experiment, base, experiment.untuned))


def tune_first(
    experiment: "Experiment",
    base: "Config",
    execution: Execution,
    launcher: "Launcher | SlurmArray | None",
) -> "Experiment":
    """Trains the tuning runs, as the verdict's are trained, and chooses the arms' settings.

    Args:
        experiment: the experiment, with arms that are not tuned.
        base: the config from which the arms start.
        execution: trains runs in the directory of the sweep.
        launcher: what `Engine.open` returned; it is closed afterwards.

    Raises:
        Unfinished: runs have failed, or were interrupted, or a batch system has them now.
    """
    from xception_jax.launchers.slurm import SlurmArray
    from xception_jax.launchers.supervision import Stopped
    from xception_jax.runtime.run_directory import read_run
    from xception_jax.sweep.local import check_tuning
    from xception_jax.sweep.tuning import tune_arms
    from xception_jax.training import Interrupted

    directory, engine = execution.directory, execution.engine
    console.print(_counts(experiment))
    # A launcher is closed once its runs have ended: a grid that is extended opens another.
    launchers = chain([launcher], (engine.open(directory) for _ in repeat(None)))

    def train(runs: "Sequence[TuningRun]") -> list[dict[str, Any]]:
        launcher = next(launchers)
        if isinstance(launcher, SlurmArray):
            if not execution.submit(launcher, runs, "units of tuning"):
                return [read_run(directory / run.directory) for run in runs]
            console.print("once the units of tuning have ended, the same command goes on")
            raise Unfinished(DONE)
        records = execution.train(experiment, runs, check_tuning(runs), launcher)
        _require_ended(execution.location, records)
        return records

    try:
        return tune_arms(directory, experiment, base, train, fits=_fits, say=console.print)
    except Interrupted as error:
        raise Unfinished(interrupted(error)) from error
    except Stopped as error:
        warn(str(error))
        raise Unfinished(FAILED) from error


def _counts(experiment: "Experiment") -> str:
    tune = experiment.tune
    assert tune is not None
    arms, points = len(experiment.untuned), math.prod(map(len, tune.values))
    runs = arms * points * tune.seeds
    counts = f"{arms} arms x {points} values x {tune.seeds} seeds = {runs} runs"
    return f"tuning {' and '.join(tune.settings)}: {counts}, judged on validation"


def _fits(runs: "Sequence[TuningRun]") -> bool:
    from xception_jax.sweep.local import check_tuning

    try:
        check_tuning(runs)
    except InputError:
        return False
    return True


def _require_ended(location: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Raises `Unfinished`, and says so, unless all runs have ended."""
    from xception_jax.records import ENDED

    if all(record["status"] in ENDED for record in records):
        return
    status = f"xception-jax status {shlex.quote(location)}"
    warn(f"tuning has not ended: {count_statuses(records)}; see {status}")
    raise Unfinished(FAILED)
