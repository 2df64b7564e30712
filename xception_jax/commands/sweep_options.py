"""Options that commands which train sweeps share."""

import re
from typing import Annotated

import typer

from xception_jax.commands.console import option_parser
from xception_jax.errors import InputError, nearest_name

LARGEST_PACK = 1024


@option_parser
def _seeds(text: str) -> int:
    from xception_jax.sweep.experiment import require_seeds

    value = int(text) if re.fullmatch(r"-?\d{1,9}", text) else text
    require_seeds("--seeds", value)
    return int(value)


Seeds = Annotated[
    int | None,
    typer.Option(
        parser=_seeds,
        metavar="N",
        help="Number of seeds; default: the experiment's. Those added after results lower the"
        " grade of verdicts.",
    ),
]


@option_parser
def _first_seed(text: str) -> int:
    from xception_jax.sweep.experiment import require_first_seed

    value = int(text) if re.fullmatch(r"-?\d{1,12}", text) else text
    require_first_seed("--first-seed", value)
    return int(value)


FirstSeed = Annotated[
    int | None,
    typer.Option(
        parser=_first_seed,
        metavar="N",
        help="First seed; the others follow it. Default: the experiment's `first_seed`, or 0.",
    ),
]
Packing = Annotated[
    str,
    typer.Option(
        metavar="auto|off|K",
        help="Runs trained together in one compiled program; auto: as measured, but off with"
        " --launcher.",
    ),
]
Launchers = Annotated[
    str | None,
    typer.Option(
        metavar="local|ray|slurm",
        help="Where worker processes run: this machine, Ray or a Slurm array; default: no workers.",
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Workers at a time, at most (local, slurm).")
]
Resources = Annotated[
    str | None, typer.Option(metavar="TPU=4", help="Resources that each worker reserves (ray).")
]
Sbatch = Annotated[
    str | None, typer.Option(metavar="OPTIONS", help="Further options for sbatch (slurm).")
]
Retries = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Retries of a failed worker (local, ray); default: 2."),
]


def parse_packing(text: str) -> str | int:
    """The value of `--packing`: "auto", "off", or the most runs that train together.

    Raises:
        InputError: `text` is something else.
    """
    if text in ("auto", "off"):
        return text
    reason = f"must be auto, off or a number of runs from 1 to {LARGEST_PACK}"
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise InputError("--packing", text, reason, nearest_name(text, ("auto", "off")) or "auto")
    if not 1 <= (size := int(text)) <= LARGEST_PACK:
        raise InputError("--packing", size, reason, min(max(size, 1), LARGEST_PACK))
    return size
