"""The `xception-jax` command: its subcommands and its exit codes.

The exit codes are 0: done; 1: a run failed or diverged; 2: bad input, reported in one line on
standard error; 70: training was stuck, or another process took over; 71: another process of the run
was lost; 75: asked to stop. After 70, 71 and 75 the same command resumes. The subcommands import
JAX inside their functions, so that --help and typos are answered at once.
"""

import errno
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer

from xception_jax.commands.audit import audit
from xception_jax.commands.confirm import confirm
from xception_jax.commands.console import RefusedOptionError, console, warn
from xception_jax.commands.data import list_sets, prepare_set
from xception_jax.commands.devices import check_devices
from xception_jax.commands.evaluate import evaluate
from xception_jax.commands.plan import plan
from xception_jax.commands.report import report
from xception_jax.commands.status import status
from xception_jax.commands.sweep import sweep
from xception_jax.commands.sync import sync
from xception_jax.commands.terminal import open_standard_streams
from xception_jax.commands.train import train
from xception_jax.commands.weights import convert, export, predict
from xception_jax.errors import (
    FAILED,
    INTERRUPTED,
    InputError,
    require_no_password,
    shortened,
)

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
_LONGEST = 7000  # characters of an error line
RUNS = train, sweep, confirm, status, report, audit, sync, plan
WEIGHTS = evaluate, convert, predict, export
for command in RUNS + WEIGHTS:
    app.command()(command)
app.command(hidden=True)(check_devices)  # what this program starts itself

data_app = typer.Typer(help="List and prepare data sets.\n\nExample: `xception-jax data list`")
data_app.command("list")(list_sets)
data_app.command("prepare")(prepare_set)
app.add_typer(data_app, name="data")


def main() -> None:
    """Runs the command line and exits with its code."""
    open_standard_streams()
    asked = _raise_on_interrupt()
    # Pillow warns of half as many pixels as it refuses, and what it refuses is reported in a line.
    warnings.filterwarnings("ignore", "Image size .* exceeds limit", RuntimeWarning)
    try:
        for word in sys.argv[1:]:
            require_no_password("argument", word)
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        if code == 130:  # Typer's, of an interrupt
            code = INTERRUPTED
    except (InputError, RefusedOptionError) as error:
        code = _refuse(str(error))
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            code = _refuse(f"{error.filename}: the name is too long")
        else:
            code = _fail(error)
    except Exception as error:
        if asked():  # an extension that was being imported raises something else instead
            sys.exit(INTERRUPTED)
        if "can't start new thread" in str(error):
            sys.exit(_fail(error))
        # What Typer raises for a wrong word; which package defines it differs by version.
        format_message = getattr(error, "format_message", None)
        if format_message is None:
            raise
        code = _refuse(format_message() + _given(error))
    sys.exit(code or 0)


def _raise_on_interrupt() -> Callable[[], bool]:
    """Has Ctrl-C raise `KeyboardInterrupt`; returns a function that says whether it was pressed."""
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, ask)
    return lambda: asked


def _given(error: Exception) -> str:
    """The value that Typer refused, where what it calls to check it says so and Typer does not."""
    problems: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    return f": {problems[0]['input']!r}" if problems else ""


def _refuse(message: str) -> int:
    warn(f"xception-jax: {shortened(' '.join(message.split()), _LONGEST)}")
    return 2


def _fail(error: Exception) -> int:
    """Says what the system refuses, such as space, permission or threads: no fault of ours."""
    message = shortened(" ".join(str(error).split()), _LONGEST)
    warn(f"xception-jax: {type(error).__name__}: {message}")
    return FAILED


def _show_version(asked: bool) -> bool:
    if asked:
        from xception_jax import __version__

        console.print(f"xception-jax {__version__}")
        raise typer.Exit
    return asked  # Typer hands this on as the value of the option


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Which of two convolution blocks is better? Ablation experiments in JAX."""
