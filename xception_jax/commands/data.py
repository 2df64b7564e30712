"""`data list` and `data prepare`: the data sets, and how they are made ready."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from xception_jax.commands.console import console, plain_table, warn
from xception_jax.errors import printable

_PLAIN_SECONDS = 15.0  # between two lines where there is no terminal
_LIVE_SECONDS = 0.1


def list_sets(
    directory: Annotated[str | None, typer.Option(help="Directory of prepared data sets.")] = None,
) -> int:
    """List the data sets, and which of them are prepared.

    Example: `xception-jax data list`
    """
    from xception_jax.data import list_datasets

    rows = [
        (row.name, row.origin, (row.location or "yes") if row.prepared else "no")
        for row in list_datasets(directory)
    ]
    console.print(plain_table("name", "comes", "prepared", rows=rows))
    return 0


def prepare_set(
    name: Annotated[str, typer.Argument(help="Name of a data set: see `xception-jax data list`.")],
    directory: Annotated[
        str | None, typer.Option(help="Directory for the prepared data set.")
    ] = None,
    from_path: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Archive to import, its unpacked folder, or a directory with either; for TFDS's"
            " own builders, the directory of the files that were downloaded by hand.",
        ),
    ] = None,
) -> int:
    """Prepare a data set for training.

    Example: `xception-jax data prepare fashion_mnist --from /usr/share/datasets/fashion-mnist`
    """
    from xception_jax.data import prepare

    with _progress() as report:
        path = prepare(name, directory, from_path, report=report, note=warn)
    state = "needs no preparation" if path is None else f"is ready in {path}"
    console.print(f"{name} {state}")
    return 0


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Yields a function that shows what is being done: live on a terminal, else now and then."""
    shown = time.monotonic()
    live = console.is_terminal
    with console.status("opening", spinner="line") as status:

        def report(text: str) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown < (_LIVE_SECONDS if live else _PLAIN_SECONDS):
                return
            shown, text = now, printable(text)
            if live:
                status.update(text)
            else:
                console.print(text)

        yield report
