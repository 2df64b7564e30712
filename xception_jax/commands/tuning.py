"""The part of `sweep` that tunes the arms before the verdict's runs are trained."""

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xception_jax.commands.console import console, warn
from xception_jax.commands.engines import Engine
from xception_jax.commands.process import interrupted
from xception_jax.errors import DONE, FAILED, InputError

if TYPE_CHECKING:
    from xception_jax.config import Config
    from xception_jax.launchers import Launcher
    from xception_jax.launchers.slurm import SlurmArray
    from xception_jax.sweep import Experiment
    from xception_jax.sweep.tuning_runs import TuningRun


class Unfinished(Exception):
    """Tuning has not come to its end; `code` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


def read_tuned(home: Path, experiment: "Experiment", base: "Config") -> "Experiment":
    """The experiment as far as it is tuned in this directory; what is left to tune is checked.

    Raises:
        InputError: a tuning run cannot be trained.
    """
    from xception_jax.sweep.local import check_tuning
    from xception_jax.sweep.tuning import with_recorded_tuning
    from xception_jax.sweep.tuning_runs import tuning_runs

    if experiment.untuned:
        experiment = with_recorded_tuning(home, experiment, base, warn)
    if experiment.untuned:
        check_tuning(tuning_runs(experiment, base, experiment.untuned))
    return experiment


def tune_first(
    home: Path,
    experiment: "Experiment",
    base: "Config",
    *,
    engine: Engine,
    opened: Any,
    how: Mapping[str, Any],
) -> "Experiment":
    """Trains the tuning runs, as the verdict's are trained, and chooses the arms' settings.

    Args:
        home: the locked directory of the sweep.
        experiment: the experiment, with arms that are not tuned.
        base: the config from which the arms start.
        engine: the launcher's options.
        opened: what `engine.open` returned; a launcher is closed afterwards.
        how: further arguments of `run_missing`.

    Raises:
        Unfinished: runs have failed, or were interrupted, or a batch system has them now.
    """
    from xception_jax.launchers.supervision import Stopped
    from xception_jax.sweep.tuning import tune_arms
    from xception_jax.training import Interrupted

    console.print(_counts(experiment))
    launchers = [opened]  # each is closed once it has done its work

    def train(runs: "Sequence[TuningRun]") -> list[dict[str, Any]]:
        if engine.launcher == "slurm":
            return _submitted(opened, home, runs, how)
        launcher = launchers.pop() if launchers else engine.open(home)
        records = _trained(home, experiment, runs, launcher, retries=engine.tries, how=how)
        _require_ended(home, records)
        return records

    try:
        return tune_arms(home, experiment, base, train, fits=_fits, say=console.print)
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
    each = f"{arms} arms x {points} values x {tune.seeds} seeds = {runs} runs"
    return f"tuning {' and '.join(tune.settings)}: {each}, judged on validation"


def _fits(runs: "Sequence[TuningRun]") -> bool:
    from xception_jax.sweep.local import check_tuning

    try:
        check_tuning(runs)
    except InputError:
        return False
    return True


def _trained(
    home: Path,
    experiment: "Experiment",
    runs: "Sequence[TuningRun]",
    launcher: "Launcher | None",
    *,
    retries: int,
    how: Mapping[str, Any],
) -> list[dict[str, Any]]:
    from xception_jax.commands.display import showing
    from xception_jax.launchers.launching import launch_missing
    from xception_jax.sweep.local import check_tuning, run_missing

    steps = check_tuning(runs)
    with showing(console) as show:
        if launcher is None:
            return run_missing(home, experiment, runs, steps, listener=show, **how)
        return launch_missing(home, runs, steps, launcher, retries=retries, listener=show, **how)


def _require_ended(home: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Raises `Unfinished`, and says so, unless all runs have ended."""
    from xception_jax.records import ENDED

    counts = Counter(record["status"] for record in records)
    if set(counts) <= set(ENDED):
        return
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    warn(f"tuning has not ended: {summary}; see xception-jax status {shlex.quote(str(home))}")
    raise Unfinished(FAILED)


def _submitted(
    engine: "SlurmArray", home: Path, runs: "Sequence[TuningRun]", how: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The records of the runs if all have ended; otherwise a batch system gets them."""
    from xception_jax.launchers.launching import plan_units
    from xception_jax.runtime.run_directory import read_run

    units = plan_units(home, runs, sizes=how["sizes"], warn=how["warn"])
    if not units:
        return [read_run(home / run.directory) for run in runs]
    at_hand = engine.status()
    if missing := [unit for unit in units if unit.number not in at_hand]:
        console.print(f"{len(missing)} units of tuning: {engine.submit(missing)}")
    console.print("once the units of tuning have ended, the same command goes on")
    raise Unfinished(DONE)
