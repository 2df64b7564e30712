"""`train`, `sweep` and `status`: runs, and how they stand."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xception_jax.commands.console import Directory, Overrides, command_line, console, warn
from xception_jax.commands.process import cache_directory, interruptible, prepare_jax
from xception_jax.errors import InputError

if TYPE_CHECKING:
    from xception_jax.sweep.packing import Sizes

INTERRUPTED = 75  # EX_TEMPFAIL: a scheduler may start the same command again

Workdir = Annotated[
    Path, typer.Option("--workdir", help="Where the files go; resumes what is there.")
]


def _seeds(text: str) -> int:
    from xception_jax.sweep.experiment import require_seeds

    value = int(text) if re.fullmatch(r"-?\d{1,9}", text) else text
    require_seeds("--seeds", value)
    return int(value)


def train(
    config: Annotated[Path, typer.Argument(help="A file of configs/.")],
    workdir: Workdir,
    overrides: Overrides = None,
) -> int:
    """Train one run, or go on with it where it was interrupted.

    Example: `xception-jax train configs/fashion_mnist_mini.py --workdir results/mini seed=1`
    """
    from xception_jax.config import load_config, resolve

    settings = resolve(load_config(config), overrides=overrides or ())
    with interruptible() as stop:
        prepare_jax()
        from xception_jax.display import headline, showing
        from xception_jax.sweep.experiment import PlannedRun
        from xception_jax.sweep.local import SweepProgress
        from xception_jax.training import Interrupted, Labels, Progress
        from xception_jax.training import train as train_run
        from xception_jax.training.run_directory import ENDED, read_run, require_own

        require_own(workdir, settings)
        if read_run(workdir)["status"] in ENDED:
            console.print(f"{workdir} holds this run, and it has ended: nothing is left to train")
        run = PlannedRun(config.stem, settings.seed, settings)
        try:
            with showing(console) as show:

                def listen(progress: Progress) -> None:
                    total = progress.total_steps
                    show(SweepProgress((run,), (1,), 1, total, total - progress.step, progress))

                labels = Labels(run.name)
                record = train_run(
                    settings, workdir, labels=labels, listener=listen, stop=stop, warn=warn
                )
        except Interrupted as error:
            return _interrupted(error)
        except InputError:
            raise
        except Exception as error:  # the run failed: its trace is in the directory
            return _failed(workdir, f"failed: {type(error).__name__}: {error}")
    if record["status"] != "done":
        return _failed(workdir, f"{record['status']}: {record['reason']}")
    result = record["result"]
    console.print(
        f"done: {result['split']} {headline(result)}, top-5 {result['top5']:.4f}, "
        f"loss {result['loss']:.4f} on {result['examples']:,} images; files in {workdir}"
    )
    return 0


def sweep(
    experiment: Annotated[Path, typer.Argument(help="A file of experiments/.")],
    workdir: Workdir,
    overrides: Overrides = None,
    seeds: Annotated[
        int | None,
        typer.Option(parser=_seeds, metavar="N", help="How many; default: the experiment's."),
    ] = None,
    packing: Annotated[
        str,
        typer.Option(
            metavar="auto|off|K", help="Runs that train together in one program; auto: measured."
        ),
    ] = "auto",
) -> int:
    """Train every arm and seed of an experiment that is not done yet.

    Example: `xception-jax sweep experiments/nonlinearity.py --workdir results/nonlinearity`
    """
    from xception_jax.sweep import load_experiment, plan_runs
    from xception_jax.sweep.experiment import parse_packing

    asked = parse_packing(packing)
    described, base = load_experiment(experiment)
    if seeds is not None:
        described = replace(described, seeds=seeds)
    runs = plan_runs(described, base, overrides=overrides or ())
    with interruptible() as stop:
        prepare_jax()
        from xception_jax.display import showing
        from xception_jax.sweep.ledger import require_home, write_ledger
        from xception_jax.sweep.local import check_runs, run_missing
        from xception_jax.training import Interrupted
        from xception_jax.training.run_directory import locked

        if described.equal:
            from xception_jax.sweep.budget import equalize

            described = equalize(described, base, overrides or ())
            runs = plan_runs(described, base, overrides=overrides or ())
        require_home(workdir, described, runs)
        steps = check_runs(runs)
        arms, each = len(described.arms), described.seeds
        console.print(f"{described.name}: {arms} arms x {each} seeds = {len(runs)} runs")
        try:
            with locked(workdir), showing(console) as show:
                write_ledger(workdir, described, runs, command_line())
                records = run_missing(
                    workdir,
                    described,
                    runs,
                    steps,
                    listener=show,
                    stop=stop,
                    warn=warn,
                    sizes=_sizes(asked),
                )
        except Interrupted as error:
            return _interrupted(error)
    return _summed_up(workdir, [record["status"] for record in records])


def _summed_up(workdir: Path, statuses: Sequence[str]) -> int:
    counts = Counter(statuses)
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    console.print(f"{said}; next: xception-jax report {shlex.quote(str(workdir))}")
    return 0 if set(counts) == {"done"} else 1


def _sizes(packing: str | int) -> "Sizes | None":
    """How many of some runs train together, by what was asked for."""
    from xception_jax.sweep.sizing import choose_size

    if packing == "off":
        return None
    if isinstance(packing, int):
        return lambda _: (packing, "given")
    return lambda runs: choose_size(runs, cache_directory() / "packing", console.print)


def status(directory: Directory) -> int:
    """Show how each run of a sweep stands, and why.

    Example: `xception-jax status results/nonlinearity`
    """
    from rich.table import Table

    from xception_jax.display import headline
    from xception_jax.sweep.ledger import read_statuses

    table = Table(box=None, pad_edge=False)
    for heading in ("run", "status", "result", "images/s", "why"):
        table.add_column(heading, overflow="fold")
    for run in read_statuses(directory):
        result = run.record.get("result") or {}
        speed = run.record.get("images_per_second")
        table.add_row(
            f"{run.arm} seed {run.seed}",
            run.status,
            f"{result['split']} {headline(result)}" if result else "",
            f"{speed:,.0f}" if speed else "",
            run.reason or "",
        )
    console.print(table)
    return 0


def _interrupted(error: Exception) -> int:
    warn(f"{error}; the same command goes on from there")
    return INTERRUPTED


def _failed(workdir: Path, reason: str) -> int:
    warn(f"the run {' '.join(reason.split())}; see {workdir}/run.json")
    return 1
