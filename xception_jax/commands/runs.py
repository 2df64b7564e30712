"""`train` and `status`: train one run, and show the state of runs."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xception_jax.commands.console import (
    Directory,
    ListSettings,
    Overrides,
    Workdir,
    console,
    nowhere,
    warn,
)
from xception_jax.commands.library_output import kept_apart
from xception_jax.commands.process import (
    interrupted,
    interruptible,
    prepare_jax,
    require_devices,
)
from xception_jax.errors import FAILED, LOST_PEER, InputError
from xception_jax.remote import copied, mirrored, require_local

if TYPE_CHECKING:
    from xception_jax.config import Config
    from xception_jax.sweep.ledger import RunStatus


def train(
    config: Annotated[Path, typer.Argument(help="A config file, or the config.json of a run.")],
    workdir: Workdir,
    overrides: Overrides = None,
    *,
    settings_asked: ListSettings = False,  # noqa: ARG001 - its callback lists them
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Address of the first process, for a run of several."
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(metavar="N", help="Number of processes; known on Slurm and TPU pods."),
    ] = None,
    process_id: Annotated[
        int | None, typer.Option(metavar="I", help="Index of this process, from 0.")
    ] = None,
) -> int:
    """Train one run; an interrupted run is resumed.

    Example: `xception-jax train configs/fashion_mnist_mini.py --workdir results/mini seed=1`
    """
    from xception_jax.config import load_config, resolve

    settings = resolve(load_config(config), overrides=overrides or ())
    with interruptible() as stop:
        prepare_jax()
        from xception_jax.runtime import hosts

        name = config.stem if config.suffix != ".json" else config.absolute().parent.name
        with hosts.together(coordinator, processes, process_id):
            require_devices()
            if hosts.several():
                reason = "is of one process: a run of several needs a directory that all can reach"
                require_local("--workdir", workdir, reason)
            with mirrored(workdir, warn) as local:
                return _train(name, settings, local, stop)


def _train(name: str, settings: "Config", workdir: Path, stop: Callable[[], bool]) -> int:
    from xception_jax.commands.display import showing
    from xception_jax.records import ENDED
    from xception_jax.runtime import hosts
    from xception_jax.runtime.run_directory import read_run, require_own
    from xception_jax.sweep.experiment import PlannedRun
    from xception_jax.sweep.local import SweepProgress
    from xception_jax.training import Interrupted, Labels, Progress
    from xception_jax.training import train as train_run

    hosts.broadcast_from_leader(lambda: require_own(workdir, settings))
    said = console if hosts.is_leader() else nowhere
    if hosts.broadcast_from_leader(lambda: read_run(workdir)["status"] in ENDED):
        said.print(f"{workdir} holds this run, and it has ended: nothing is left to train")
    else:
        for note in hosts.all_or_raise(lambda: _data_notes(settings)):
            said.print(f"data: {note}")
    run = PlannedRun(name, settings.seed, settings)
    try:
        with kept_apart(workdir), showing(said) as show:

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
        if hosts.is_loss(error):
            message = f"xception-jax: another process of this run is gone: {error}"
            hosts.leave_at_once(LOST_PEER, message)
        code = _failed(workdir, f"failed: {type(error).__name__}: {error}")
        if hosts.several():
            hosts.leave_at_once(code)
        return code
    if record["status"] != "done":
        return _failed(workdir, f"{record['status']}: {record['reason']}")
    if hosts.is_leader():
        _show_result(record["result"], workdir)
    return 0


def _data_notes(settings: "Config") -> tuple[str, ...]:
    """What people should know of the run's data before it trains."""
    from xception_jax.training.setup import open_data

    with closing(open_data(settings)) as pipeline:
        return pipeline.fingerprint().notes


def _show_result(result: dict[str, Any], workdir: Path) -> None:
    from xception_jax.commands.display import headline

    console.print(
        f"done: {result['split']} {headline(result)}, top-5 {result['top5']:.4f}, "
        f"loss {result['loss']:.4f} on {result['examples']:,} images; files in {workdir}"
    )


def status(directory: Directory) -> int:
    """Show the status of each run of a sweep, and the reason for it.

    Example: `xception-jax status results/nonlinearity`
    """
    from rich.table import Table

    from xception_jax.commands.display import headline
    from xception_jax.json_values import as_mapping, as_real, as_text, as_whole
    from xception_jax.records import METRICS
    from xception_jax.sweep.ledger import read_base_paths

    table = Table(box=None, pad_edge=False)
    for heading in ("run", "status", "result", "images/s", "why"):
        table.add_column(heading, overflow="fold")
    with copied(directory) as local:
        runs, bases = _statuses(local), read_base_paths(local)
    if bases:
        told = "; ".join(f"{as_text(name)}: {as_text(path)}" for name, path in bases.items())
        console.print(f"bases: {told}")
    for run in runs:
        result = as_mapping(run.record.get("result"))
        speed = as_real(run.record.get("images_per_second"))
        pack = as_whole(as_mapping(run.record.get("pack")).get("size"))
        has_metric = any(as_real(result.get(metric)) is not None for metric in METRICS)
        table.add_row(
            f"{as_text(run.arm)} seed {as_text(run.seed)}",
            run.status,
            f"{as_text(result.get('split'))} {headline(result)}" if has_metric else "",
            (f"{speed:,.0f}" + (f" (pack of {pack})" if pack else "")) if speed else "",
            as_text(run.reason),
        )
    console.print(table)
    return 0


def _statuses(directory: Path) -> "list[RunStatus]":
    """The status of each run, of a sweep in its own directory or in an archive."""
    from xception_jax.records import SWEEP
    from xception_jax.sweep.ledger import (
        RunStatus,
        is_archived,
        list_runs,
        read_ledger,
        read_statuses,
    )

    if not is_archived(directory):
        return read_statuses(directory)
    from xception_jax.report.reading import open_source

    source = open_source(directory, read_ledger(directory / SWEEP))
    statuses = []
    for row in list_runs(directory):
        files = source.files(row["directory"], [])
        record = {"status": "planned"} if files.record is None else files.record
        status = "unreadable" if files.changed else record.get("status", "unreadable")
        reason = "; ".join(files.changed) or record.get("reason")
        statuses.append(RunStatus(row["arm"], row["seed"], status, reason, record))
    return statuses


def _failed(workdir: Path, reason: str) -> int:
    warn(f"the run {' '.join(reason.split())}; see {workdir}/run.json")
    return FAILED
