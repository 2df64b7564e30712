"""`sweep`: train every arm of an experiment with every seed."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xception_jax.cache import cache_directory
from xception_jax.commands.console import (
    Base,
    ListSettings,
    Overrides,
    Workdir,
    command_line,
    console,
    warn,
)
from xception_jax.commands.devices import require_devices_of_workers
from xception_jax.commands.engines import Engine
from xception_jax.commands.execution import Execution, count_statuses
from xception_jax.commands.library_output import kept_apart
from xception_jax.commands.looks import look_by_look, next_report, seed_lines, size_line
from xception_jax.commands.process import interrupted, interruptible, prepare_jax
from xception_jax.commands.sweep_options import (
    FirstSeed,
    Launchers,
    Packing,
    Resources,
    Retries,
    Sbatch,
    Seeds,
    Workers,
    parse_packing,
)
from xception_jax.commands.sweep_tuning import Unfinished, read_tuned, require_tunable, tune_first
from xception_jax.errors import DONE, FAILED
from xception_jax.json_values import as_text
from xception_jax.remote import as_typed, mirrored, require_local

if TYPE_CHECKING:
    from xception_jax.launchers import Launcher
    from xception_jax.launchers.slurm import SlurmArray
    from xception_jax.sweep import Experiment, PlannedRun
    from xception_jax.sweep.experiment import PlannedSweep
    from xception_jax.sweep.packing import Sizes

    Runs = Sequence[PlannedRun]


def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="EXPERIMENT", help="An experiment file, or the sweep.json of a sweep."
        ),
    ],
    workdir: Workdir,
    overrides: Overrides = None,
    *,
    settings_asked: ListSettings = False,  # noqa: ARG001 - its callback lists them
    base: Base = None,
    seeds: Seeds = None,
    first_seed: FirstSeed = None,
    packing: Packing = "auto",
    launcher: Launchers = None,
    workers: Workers = None,
    resources: Resources = None,
    sbatch: Sbatch = None,
    retries: Retries = None,
    unit: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> int:
    """Train every arm of an experiment with every seed; finished runs are skipped.

    Example: `xception-jax sweep experiments/nonlinearity.py --workdir results/nonlinearity`

    On a cluster: `… --launcher ray --resources GPU=1`, see docs/clusters.md
    """
    if unit is not None:
        return _train_unit(workdir, unit)
    from xception_jax.sweep.recorded import plan_from_file

    asked = parse_packing(packing)
    engine = Engine(launcher, workers, resources, sbatch, retries)
    planned = plan_from_file(
        file, base=base, seeds=seeds, first_seed=first_seed, overrides=overrides or ()
    )
    return run_sweep(
        planned,
        workdir=workdir,
        engine=engine,
        packing=asked,
        keep_widths=file.suffix == ".json",
    )


def run_sweep(
    planned: "PlannedSweep",
    *,
    workdir: Path,
    engine: Engine,
    packing: str | int,
    keep_widths: bool,
    confirms: Mapping[str, Any] | None = None,
) -> int:
    """Records a sweep in its directory and trains all of its unfinished runs.

    Args:
        planned: the sweep.
        workdir: directory of the sweep.
        engine: where runs train.
        packing: how many train together, as `parse_packing` gives it.
        keep_widths: whether arms keep widths with which they are equal, see `equalize`.
        confirms: the sweep that this one repeats, see `sweep.confirmation`; None: it repeats none.

    Returns:
        The exit code.
    """
    with interruptible() as stop:
        _prepare(engine.launcher)
        from xception_jax.lock import locked
        from xception_jax.runtime import hosts
        from xception_jax.sweep.ledger import require_same_sweep
        from xception_jax.sweep.local import check_runs, require_begun_data

        hosts.require_alone("sweep")
        planned = _equalized(planned, keep=keep_widths)
        asked = planned.experiment.claimed_endpoints()
        steps = check_runs(planned.runs, lambda note: console.print(f"data: {note}"), asked)
        if engine.launcher not in (None, "local"):
            others = f"--launcher {engine.launcher} has others"
            reason = f"is worked on by this machine and kept there; {others}"
            require_local("--workdir", workdir, reason)
        with mirrored(workdir, warn) as directory:
            tuned = read_tuned(directory, planned, lambda _: None)  # it is read again below
            require_same_sweep(directory, *tuned)
            require_tunable(tuned)
            require_begun_data(directory, tuned.runs)
            launcher = engine.open(directory)
            sizes = _sizes(packing, stop, measured=launcher is None)
            execution = Execution(directory, as_typed(workdir), engine, sizes, stop)
            with locked(directory), kept_apart(directory):
                planned = read_tuned(directory, planned, warn)
                return _tune_and_train(
                    planned, steps=steps, execution=execution, launcher=launcher, confirms=confirms
                )


def _tune_and_train(
    planned: "PlannedSweep",
    *,
    steps: Mapping[str, int],
    execution: Execution,
    launcher: "Launcher | SlurmArray | None",
    confirms: Mapping[str, Any] | None,
) -> int:
    """Records the sweep in its locked directory, tunes and trains it; returns the exit code."""
    from xception_jax.launchers.slurm import SlurmArray
    from xception_jax.sweep.experiment import plan_sweep
    from xception_jax.sweep.local import check_runs

    directory, engine = execution.directory, execution.engine
    if planned.experiment.untuned:
        _record(directory, planned, confirms)
        try:
            tuned = tune_first(planned.experiment, planned.base, execution, launcher)
        except Unfinished as unfinished:
            return unfinished.code
        planned, launcher = plan_sweep(tuned, planned.base), engine.open(directory)
    experiment = planned.experiment
    if experiment.tune is not None:
        steps = check_runs(planned.runs)
    # A launcher is closed once its runs have ended: every look after the first opens another.
    launchers = chain([launcher], (engine.open(directory) for _ in repeat(None)))

    def train(part: "Runs") -> int:
        launcher = next(launchers)
        _record(directory, planned._replace(runs=part), confirms)
        if isinstance(launcher, SlurmArray):
            return _submit(execution, experiment, part, launcher)
        return _train(execution, experiment, part, steps, launcher)

    for line in (size_line(experiment, len(planned.runs)), *seed_lines(experiment)):
        console.print(line)
    if not experiment.looks:
        return train(planned.runs)
    return look_by_look(directory, execution.location, experiment, planned.runs, train)


def _record(directory: Path, planned: "PlannedSweep", confirms: Mapping[str, Any] | None) -> None:
    from xception_jax.runtime.run_directory import keep_changes
    from xception_jax.sweep.ledger import write_ledger

    for line in write_ledger(directory, *planned, command_line(), confirms=confirms):
        warn(line)
    keep_changes(directory)


def _prepare(launcher: str | None) -> None:
    """Sets JAX up; with a launcher, the devices are left to its workers."""
    prepare_jax(devices=launcher is None, packs=launcher is None)
    if launcher == "local":
        require_devices_of_workers()


def _equalized(planned: "PlannedSweep", *, keep: bool) -> "PlannedSweep":
    """The sweep with arms of equal cost, if its experiment asks for that."""
    if not planned.experiment.equal:
        return planned
    from xception_jax.planning.budget import equalize
    from xception_jax.sweep.experiment import plan_runs

    experiment = equalize(planned.experiment, planned.base, keep=keep)
    if experiment.arms == planned.experiment.arms:
        return planned
    asked = {(run.arm, run.seed) for run in planned.runs}
    runs = [run for run in plan_runs(experiment, planned.base) if (run.arm, run.seed) in asked]
    return planned._replace(experiment=experiment, runs=runs)


def _train(
    execution: Execution,
    experiment: "Experiment",
    runs: "Runs",
    steps: Mapping[str, int],
    launcher: "Launcher | None",
) -> int:
    """Trains all unfinished runs; returns the exit code."""
    from xception_jax.launchers.supervision import Stopped
    from xception_jax.training import Interrupted

    try:
        records = execution.train(experiment, runs, steps, launcher)
    except Interrupted as error:
        return interrupted(error)
    except Stopped as error:
        warn(str(error))
        return FAILED
    return _ended(execution, experiment, records)


def _submit(
    execution: Execution, experiment: "Experiment", runs: "Runs", array: "SlurmArray"
) -> int:
    """Submits all unfinished runs; returns the exit code, that of the runs if all have ended."""
    from xception_jax.runtime.run_directory import read_run

    if not execution.submit(array, runs):
        records = [read_run(execution.directory / run.directory) for run in runs]
        return _ended(execution, experiment, records)
    console.print(f"next: xception-jax status {shlex.quote(execution.location)}")
    return DONE


def _ended(
    execution: Execution, experiment: "Experiment", records: Sequence[Mapping[str, Any]]
) -> int:
    """Says how the runs of these records have ended, and what comes next; returns the exit code."""
    # With looks, `look_by_look` says what comes next.
    after = "" if experiment.looks else f"; {next_report(execution.location)}"
    console.print(f"{count_statuses(records)}{after}")
    return DONE if {record["status"] for record in records} == {"done"} else FAILED


def _train_unit(workdir: Path, number: int) -> int:
    """Trains one unit of a recorded sweep, a pack or a run; this is what a worker process does."""
    from xception_jax.launchers import end_with_parent

    end_with_parent()
    with interruptible() as stop:
        prepare_jax(packs=True)
        from xception_jax.commands.display import showing
        from xception_jax.records import ENDED
        from xception_jax.runtime.run_directory import keep_changes
        from xception_jax.sweep.local import run_unit
        from xception_jax.training import Interrupted

        keep_changes(workdir)  # of the checkout on this machine
        try:
            with showing(console) as show:
                records = run_unit(workdir, number, listener=show, stop=stop, warn=warn)
        except Interrupted as error:
            return interrupted(error)
    for record in records:
        outcome = ": ".join(filter(None, (record["status"], as_text(record.get("reason")))))
        named = f"{as_text(record.get('arm'))} seed {as_text(record.get('seed'))}"
        console.print(f"{named}: {outcome}")
    return DONE if all(record["status"] in ENDED for record in records) else FAILED


def _sizes(packing: str | int, stop: Callable[[], bool], *, measured: bool) -> "Sizes | None":
    """The function that decides how many runs train together; None: each run trains alone."""
    from xception_jax.sweep.packing import even_size
    from xception_jax.sweep.sizing import choose_size

    if packing == "off" or (packing == "auto" and not measured):
        return None
    if isinstance(packing, int):
        return lambda runs: (even_size(len(runs), packing), "given")
    return lambda runs: choose_size(runs, cache_directory() / "packing", console.print, stop)
