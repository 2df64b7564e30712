"""What commands share: where they write, and the words every one of them understands."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from xception_jax.errors import InputError


def _console(*, stderr: bool = False, quiet: bool = False) -> Console:
    # No markup: what is printed are other people's words, and brackets in them are meant. In a file
    # or a pipe nothing is cut: a table there is as wide as its words.
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 10_000
    return Console(
        stderr=stderr, quiet=quiet, width=width, soft_wrap=True, markup=False, highlight=False
    )


console, errors, nowhere = _console(), _console(stderr=True), _console(quiet=True)

Directory = Annotated[Path, typer.Argument(help="Of a sweep or a run.")]


def _named_directory(text: str) -> Path:
    if not text:  # a variable of the shell that is not set would scatter files where one stands
        raise InputError("--workdir", text, "names no directory", ".")
    return Path(text)


Workdir = Annotated[
    Path,
    typer.Option(
        "--workdir",
        parser=_named_directory,
        metavar="DIR",
        help="Where the files go; resumes what is there.",
    ),
]
Base = Annotated[
    Path | None,
    typer.Option(
        metavar="CONFIG", help="A config file that the arms start from, instead of their own."
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value words that override the config.")
]


def warn(text: str) -> None:
    """Says one line on standard error."""
    errors.print(text)


def command_line() -> str:
    """What the person typed, for the record; can be pasted into a shell."""
    return shlex.join(["xception-jax", *sys.argv[1:]])
