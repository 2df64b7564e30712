"""`train` and `status`: a run, and how runs stand."""

from pathlib import Path
from typing import Annotated

import typer

from xception_jax.commands.console import Directory, Overrides, Workdir, console, warn
from xception_jax.commands.process import interrupted, interruptible, prepare_jax
from xception_jax.errors import InputError


def train(
    config: Annotated[Path, typer.Argument(help="A file of configs/, or a run's config.json.")],
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
        name = config.stem if config.suffix != ".json" else config.absolute().parent.name
        run = PlannedRun(name, settings.seed, settings)
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
            return interrupted(error)
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


def _failed(workdir: Path, reason: str) -> int:
    warn(f"the run {' '.join(reason.split())}; see {workdir}/run.json")
    return 1
