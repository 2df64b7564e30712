"""`sweep`: every arm and seed of an experiment."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xception_jax.commands.console import Overrides, Workdir, command_line, console, warn
from xception_jax.commands.process import (
    cache_directory,
    interrupted,
    interruptible,
    prepare_jax,
)
from xception_jax.errors import DONE, FAILED

if TYPE_CHECKING:
    from xception_jax.sweep.packing import Sizes


def _seeds(text: str) -> int:
    from xception_jax.sweep.experiment import require_seeds

    value = int(text) if re.fullmatch(r"-?\d{1,9}", text) else text
    require_seeds("--seeds", value)
    return int(value)


def sweep(
    experiment: Annotated[
        Path, typer.Argument(help="A file of experiments/, or a sweep's sweep.json.")
    ],
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
    from xception_jax.config import resolve
    from xception_jax.sweep import plan_runs
    from xception_jax.sweep.experiment import parse_packing
    from xception_jax.sweep.recorded import load_sweep

    asked, words = parse_packing(packing), overrides or ()
    described, base, runs = load_sweep(experiment, seeds=seeds, overrides=words)
    with interruptible() as stop:
        prepare_jax()
        from xception_jax.display import showing
        from xception_jax.sweep.ledger import require_home, write_ledger
        from xception_jax.sweep.local import check_runs, run_missing
        from xception_jax.training import Interrupted, hosts
        from xception_jax.training.lock import locked

        hosts.require_alone("sweep")
        if described.equal and experiment.suffix != ".json":  # there, arms have their widths
            from xception_jax.sweep.budget import equalize

            described = equalize(described, base, words)
            runs = plan_runs(described, base, overrides=words)
        require_home(workdir, described, runs)
        steps = check_runs(runs)
        arms, each = len(described.arms), described.seeds
        try:
            with locked(workdir), showing(console) as show:
                whole = resolve(base, overrides=words)
                write_ledger(workdir, described, whole, runs, command_line())
                console.print(f"{described.name}: {arms} arms x {each} seeds = {len(runs)} runs")
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
            return interrupted(error)
    return _summed_up(workdir, [record["status"] for record in records])


def _summed_up(workdir: Path, statuses: Sequence[str]) -> int:
    counts = Counter(statuses)
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    console.print(f"{said}; next: xception-jax report {shlex.quote(str(workdir))}")
    return DONE if set(counts) == {"done"} else FAILED


def _sizes(packing: str | int) -> "Sizes | None":
    """How many of some runs train together, by what was asked for."""
    from xception_jax.sweep.sizing import choose_size

    if packing == "off":
        return None
    if isinstance(packing, int):
        return lambda _: (packing, "given")
    return lambda runs: choose_size(runs, cache_directory() / "packing", console.print)
