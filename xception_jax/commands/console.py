"""Consoles, and the arguments and options that several commands share."""

import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from xception_jax.commands.terminal import open_console
from xception_jax.errors import InputError, printable

if TYPE_CHECKING:
    from rich.table import Column, Table

T = TypeVar("T")

console, errors, nowhere = open_console(), open_console(stderr=True), open_console(quiet=True)


class RefusedOptionError(Exception):
    """The `InputError` of an option's parser; a ValueError Typer would put into its own words."""


def option_parser(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A decorator of an option's parser, which may raise `InputError`."""

    @wraps(parse)
    def parse_or_refuse(text: str) -> T:
        try:
            return parse(text)
        except InputError as error:
            raise RefusedOptionError(str(error)) from error

    return parse_or_refuse


def directory_parser(option: str) -> Callable[[str], Path]:
    """Returns the parser of an option whose value is a directory that records can name.

    The parser refuses an empty value, and paths that are not UTF-8 or have control characters.

    Args:
        option: name of the option in error messages.
    """

    @option_parser
    def parse(text: str) -> Path:
        if not text:  # an unset shell variable would scatter files over the current directory
            raise InputError(option, text, "names no directory", ".")
        whole = text
        with suppress(OSError):  # the current directory is gone
            whole = str(Path(text).absolute())
        # Records and pages hold the path, and W&B and Orbax are given it.
        if not _is_utf8(whole):
            raise InputError(option, whole, "is not UTF-8, which records of it need; rename it")
        if any(unicodedata.category(character) == "Cc" for character in whole):
            raise InputError(option, whole, "has control characters; rename it")
        return Path(text)

    return parse


def directory_argument(about: str) -> Any:
    """The argument of a command that names a directory, with its line of help."""
    parser = directory_parser("directory")
    return typer.Argument(parser=parser, metavar="directory", help=about)


Directory = Annotated[Path, directory_argument("The directory of a sweep or a run.")]
Workdir = Annotated[
    Path,
    typer.Option(
        "--workdir",
        parser=directory_parser("--workdir"),
        metavar="DIR",
        help="Directory for all files; a run or sweep in it is resumed.",
    ),
]
Base = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="CONFIG",
        help="Config file to use in place of the experiment's own base; with several --base, the"
        " claims are judged on all of them.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings to override, as key=value; --settings lists them."),
]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _list_settings(asked: bool) -> bool:
    if asked:
        from xception_jax.config import SETTINGS
        from xception_jax.config.reference import shown

        rows = []
        for setting in SETTINGS.values():
            valid = f" ({setting.valid})" if setting.valid else ""
            rows.append((setting.name, shown(setting.default), f"{setting.help}{valid}"))
        console.print(plain_table("setting", "default", "meaning", rows=rows))
        raise typer.Exit
    return asked  # Typer hands this on as the value of the option


ListSettings = Annotated[
    bool,
    typer.Option(
        "--settings",
        callback=_list_settings,
        is_eager=True,
        help="List every setting with its default, meaning and valid values, and exit.",
    ),
]


def warn(text: str) -> None:
    """Prints one line on standard error, whatever line ends the names in it have."""
    errors.print(printable(" ".join(text.splitlines())))


def command_line() -> str:
    """The command line as it was typed, for records; it can be pasted into a shell."""
    return shlex.join(["xception-jax", *sys.argv[1:]])


def plain_table(*headings: "Column | str", rows: Iterable[Sequence[str]] = ()) -> "Table":
    """A table without lines, whose columns begin at the edge of the terminal."""
    from rich.table import Table

    table = Table(*headings, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table


def quantity(number: float) -> str:
    """Formats a number to three digits with a decimal prefix: `8_363_000_000` -> "8.36 G"."""
    number = float(f"{number:.3g}")  # 999.6 M rounds to a G
    for unit in ("", "k", "M", "G", "T", "P", "E", "Z", "Y"):
        if abs(number) < 1000 or unit == "Y":
            break
        number /= 1000
    return f"{number:.3g} {unit}"
