"""`bench`: the project's benchmarks, which lie beside the package in a checkout."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from xception_jax.commands.console import command_line, console
from xception_jax.errors import InputError

_CHECKOUT = Path(__file__).resolve().parents[2]


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="operations, train_step, inference, packing, pipelines, startup, sweep; "
            "default: all."
        ),
    ] = None,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny shapes, to see that it runs.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Where the results go.")] = Path("results/bench"),
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Of every case; default: by how long it takes.")
    ] = None,
    case: Annotated[str, typer.Option(help="Only the cases with this in their name.")] = "",
    checkout: Annotated[
        Path, typer.Option(help="Of the project, with benchmarks/ in it.", show_default=False)
    ] = _CHECKOUT,
) -> int:
    """Measure this project beside plain Flax, Keras and PyTorch, in turns, on this machine.

    Example: `xception-jax bench train_step --case "96 px"`
    """
    if not (checkout / "benchmarks" / "command.py").is_file():
        reason = "has no benchmarks/, which are not installed with the package; name a checkout"
        raise InputError("--checkout", str(checkout), reason)
    if output.exists() and not output.is_dir():
        raise InputError("--output", str(output), "is a file; a directory is needed")
    sys.path.insert(0, str(checkout.absolute()))
    code: int = import_module("benchmarks.command").run(
        names or [],
        quick=quick,
        output=output,
        rounds=rounds,
        only=case,
        command=command_line(),
        console=console,
    )
    return code
