"""`sweep`: every arm and seed of an experiment."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xception_jax.cache import cache_directory
from xception_jax.commands.console import Overrides, Workdir, command_line, console, warn
from xception_jax.commands.engines import Engine
from xception_jax.commands.process import interrupted, interruptible, prepare_jax
from xception_jax.errors import DONE, FAILED
from xception_jax.remote import mirrored, require_local

if TYPE_CHECKING:
    from xception_jax.launchers import Launcher
    from xception_jax.launchers.slurm import SlurmArray
    from xception_jax.sweep import Experiment, PlannedRun
    from xception_jax.sweep.packing import Sizes

    Runs = Sequence[PlannedRun]


def _seeds(text: str) -> int:
    from xception_jax.sweep.experiment import require_seeds

    value = int(text) if re.fullmatch(r"-?\d{1,9}", text) else text
    require_seeds("--seeds", value)
    return int(value)


Seeds = Annotated[
    int | None,
    typer.Option(parser=_seeds, metavar="N", help="How many; default: the experiment's."),
]
Packing = Annotated[
    str,
    typer.Option(
        metavar="auto|off|K",
        help="Runs that train together in one program; auto: measured, off with --launcher.",
    ),
]
Launchers = Annotated[
    str | None,
    typer.Option(
        metavar="local|ray|slurm",
        help="Worker processes: of this machine, on Ray, or in a Slurm array; default: none.",
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="At most so many at a time (local, slurm).")
]
Resources = Annotated[
    str | None, typer.Option(metavar="TPU=4", help="What a worker takes of a node (ray).")
]
Sbatch = Annotated[
    str | None, typer.Option(metavar="OPTIONS", help="More options for sbatch (slurm).")
]
Retries = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Of a failed unit (local, ray); default: 2."),
]


def sweep(
    experiment: Annotated[
        Path, typer.Argument(help="A file of experiments/, or a sweep's sweep.json.")
    ],
    workdir: Workdir,
    overrides: Overrides = None,
    *,
    seeds: Seeds = None,
    packing: Packing = "auto",
    launcher: Launchers = None,
    workers: Workers = None,
    resources: Resources = None,
    sbatch: Sbatch = None,
    retries: Retries = None,
    unit: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> int:
    """Train every arm and seed of an experiment that is not done yet.

    Example: `xception-jax sweep experiments/nonlinearity.py --workdir results/nonlinearity`

    On a cluster: `… --launcher ray --resources GPU=1`, see docs/clusters.md
    """
    if unit is not None:
        return _train_unit(workdir, unit)
    from xception_jax.config import resolve
    from xception_jax.sweep import plan_runs
    from xception_jax.sweep.experiment import parse_packing
    from xception_jax.sweep.recorded import load_sweep

    asked, words = parse_packing(packing), overrides or ()
    engine = Engine(launcher, workers, resources, sbatch, retries)
    described, base, runs = load_sweep(experiment, seeds=seeds, overrides=words)
    with interruptible() as stop:
        prepare_jax(devices=launcher is None, packs=launcher is None)
        from xception_jax.runtime import hosts
        from xception_jax.runtime.lock import locked
        from xception_jax.sweep.ledger import require_home, write_ledger
        from xception_jax.sweep.local import check_runs

        hosts.require_alone("sweep")
        if described.equal and experiment.suffix != ".json":  # there, arms have their widths
            from xception_jax.planning.budget import equalize

            described = equalize(described, base, words)
            runs = plan_runs(described, base, overrides=words)
        steps = check_runs(runs)
        if launcher not in (None, "local"):
            reason = f"is worked on here and kept there; --launcher {launcher} has other machines"
            require_local("--workdir", workdir, reason)
        arms, each = len(described.arms), described.seeds
        with mirrored(workdir, warn) as here:
            require_home(here, described, runs)
            opened = engine.open(here)
            with locked(here):
                whole = resolve(base, overrides=words)
                write_ledger(here, described, whole, runs, command_line())
                console.print(f"{described.name}: {arms} arms x {each} seeds = {len(runs)} runs")
                sizes = _sizes(asked, measured=opened is None)
                if launcher == "slurm":
                    return _submit(opened, here, runs, sizes)
                common: dict[str, Any] = {"stop": stop, "warn": warn, "sizes": sizes}
                if opened is None:
                    return _train(here, described, runs, steps, **common)
                return _launch(here, runs, steps, opened, retries=engine.tries, **common)


def _train(workdir: Path, experiment: "Experiment", runs: "Runs", steps: Any, **how: Any) -> int:
    """All that is missing, in this process."""
    from xception_jax.commands.display import showing
    from xception_jax.sweep.local import run_missing
    from xception_jax.training import Interrupted

    try:
        with showing(console) as show:
            records = run_missing(workdir, experiment, runs, steps, listener=show, **how)
    except Interrupted as error:
        return interrupted(error)
    return _summed_up(workdir, [record["status"] for record in records])


def _launch(workdir: Path, runs: "Runs", steps: Any, launcher: "Launcher", **how: Any) -> int:
    """All that is missing, by workers that this process watches."""
    from xception_jax.commands.display import showing
    from xception_jax.launchers.launching import launch_missing
    from xception_jax.launchers.supervision import Stopped
    from xception_jax.training import Interrupted

    try:
        with showing(console) as show:
            records = launch_missing(workdir, runs, steps, launcher, listener=show, **how)
    except Interrupted as error:
        return interrupted(error)
    except Stopped as error:
        warn(str(error))
        return FAILED
    return _summed_up(workdir, [record["status"] for record in records])


def _submit(engine: "SlurmArray", workdir: Path, runs: "Runs", sizes: "Sizes | None") -> int:
    """Leaves the units that are missing to an engine that looks after them itself."""
    from xception_jax.launchers.launching import plan_units

    at_hand = engine.status()
    units = plan_units(workdir, runs, sizes=sizes, warn=warn)
    missing = [unit for unit in units if unit.number not in at_hand]
    if at_hand:
        console.print(f"{len(units) - len(missing)} units are in the queue already")
    if missing:
        console.print(f"{len(missing)} units: {engine.submit(missing)}")
    console.print(f"next: xception-jax status {shlex.quote(str(workdir))}")
    return DONE


def _train_unit(workdir: Path, number: int) -> int:
    """What a worker process does: one pack or run of a recorded sweep."""
    from xception_jax.launchers import end_with_parent

    end_with_parent()
    with interruptible() as stop:
        prepare_jax(packs=True)
        from xception_jax.commands.display import showing
        from xception_jax.runtime.run_directory import ENDED
        from xception_jax.sweep.local import run_unit
        from xception_jax.training import Interrupted

        try:
            with showing(console) as show:
                records = run_unit(workdir, number, listener=show, stop=stop, warn=warn)
        except Interrupted as error:
            return interrupted(error)
    for record in records:
        said = f"{record['status']}: {record.get('reason')}"
        console.print(f"{record['arm']} seed {record['seed']}: {said}")
    return DONE if all(record["status"] in ENDED for record in records) else FAILED


def _summed_up(workdir: Path, statuses: Sequence[str]) -> int:
    counts = Counter(statuses)
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    console.print(f"{said}; next: xception-jax report {shlex.quote(str(workdir))}")
    return DONE if set(counts) == {"done"} else FAILED


def _sizes(packing: str | int, *, measured: bool) -> "Sizes | None":
    """How many of some runs train together, by what was asked for."""
    from xception_jax.sweep.packing import even_size
    from xception_jax.sweep.sizing import choose_size

    if packing == "off" or (packing == "auto" and not measured):
        return None
    if isinstance(packing, int):
        return lambda runs: (even_size(len(runs), packing), "given")
    return lambda runs: choose_size(runs, cache_directory() / "packing", console.print)
