"""`data list` and `data prepare`: data sets."""

from typing import Annotated

import typer

from xception_jax.commands.console import console


def list_sets(
    directory: Annotated[str | None, typer.Option(help="Where prepared sets are.")] = None,
) -> int:
    """List data sets, and which are prepared.

    Example: `xception-jax data list`
    """
    from rich.table import Table

    from xception_jax.data import list_datasets

    table = Table("name", "comes", "prepared", box=None, pad_edge=False)
    for row in list_datasets(directory):
        table.add_row(row.name, row.origin, (row.location or "yes") if row.prepared else "no")
    console.print(table)
    return 0


def prepare_set(
    name: Annotated[str, typer.Argument(help="See `xception-jax data list`.")],
    directory: Annotated[str | None, typer.Option(help="Where to put it.")] = None,
    from_directory: Annotated[
        str | None, typer.Option("--from", help="Where the files to import are.")
    ] = None,
) -> int:
    """Bring a data set into the form training reads.

    Example: `xception-jax data prepare fashion_mnist --from /usr/share/datasets/fashion-mnist`
    """
    from xception_jax.data import prepare

    path = prepare(name, directory=directory, from_directory=from_directory)
    console.print(f"{name} is ready in {path}")
    return 0
