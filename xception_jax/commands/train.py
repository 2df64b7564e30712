"""`train`: train one run."""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xception_jax.commands.console import (
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
from xception_jax.errors import FAILED, InputError
from xception_jax.json_values import as_text
from xception_jax.remote import as_typed, mirrored, require_local

if TYPE_CHECKING:
    from xception_jax.config import Config


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
                return _train(name, settings, local, as_typed(workdir), stop)


def _train(
    name: str, settings: "Config", workdir: Path, location: str, stop: Callable[[], bool]
) -> int:
    """Trains the run in `workdir`, which people call `location`; returns the exit code."""
    from xception_jax.commands.display import showing
    from xception_jax.records import ENDED
    from xception_jax.runtime import hosts
    from xception_jax.runtime.run_directory import read_run, require_same_run
    from xception_jax.sweep.experiment import PlannedRun
    from xception_jax.sweep.local import SweepProgress
    from xception_jax.training import Interrupted, Progress, RunNames
    from xception_jax.training import train as train_run

    hosts.broadcast_from_leader(lambda: require_same_run(workdir, settings))
    output = console if hosts.is_leader() else nowhere
    recorded = hosts.broadcast_from_leader(lambda: read_run(workdir))
    notes = _data_notes(settings, recorded)
    if recorded["status"] in ENDED:
        output.print(f"{location} holds this run, and it has ended: nothing is left to train")
    else:
        for note in notes:
            output.print(f"data: {note}")
    run = PlannedRun(name, settings.seed, settings)
    try:
        with kept_apart(workdir), showing(output) as show:

            def listen(progress: Progress) -> None:
                total = progress.total_steps
                show(SweepProgress((run,), (1,), 1, total, total - progress.step, progress))

            names = RunNames(run.name)
            record = train_run(
                settings, workdir, names=names, listener=listen, stop=stop, warn=warn
            )
    except Interrupted as error:
        return interrupted(error)
    except InputError:
        raise
    except Exception as error:  # the run failed: its trace is in the directory
        if hosts.is_loss(error):
            hosts.leave_after_loss(error)
        code = _failed(location, f"failed: {type(error).__name__}: {error}")
        if hosts.several():
            hosts.leave_at_once(code)
        return code
    if record["status"] != "done":
        reason = as_text(record.get("reason"))
        return _failed(location, ": ".join(filter(None, (record["status"], reason))))
    if hosts.is_leader():
        _show_result(record["result"], location)
    return 0


def _data_notes(settings: "Config", recorded: Mapping[str, Any]) -> tuple[str, ...]:
    """What people should know of the run's data before it trains.

    Args:
        settings: config of the run.
        recorded: content of its `run.json`.

    Raises:
        InputError: the data cannot be opened, or the run has begun, or even ended, with others: its
            id does not say which, and its result must not be taken for one of theirs.
    """
    from xception_jax.runtime import hosts
    from xception_jax.training.same_data import require_same_data
    from xception_jax.training.setup import data_notes, open_data

    with closing(hosts.all_or_raise(lambda: open_data(settings))) as pipeline:
        require_same_data([settings], [recorded], [pipeline])
        return data_notes(settings, pipeline)


def _show_result(result: dict[str, Any], location: str) -> None:
    from xception_jax.commands.display import headline

    console.print(
        f"done: {as_text(result['split'])} {headline(result)}, top-5 {result['top5']:.4f}, "
        f"loss {result['loss']:.4f} on {result['examples']:,} images; files in {location}"
    )


def _failed(location: str, reason: str) -> int:
    warn(f"the run {' '.join(reason.split())}; see {location}/run.json")
    return FAILED
