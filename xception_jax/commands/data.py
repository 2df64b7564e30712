"""`data list` and `data prepare`: the data sets, and how they are made ready."""

from typing import Annotated

import typer

from xception_jax.commands.console import console


def list_sets(
    directory: Annotated[str | None, typer.Option(help="Directory of prepared data sets.")] = None,
) -> int:
    """List the data sets, and which of them are prepared.

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
    name: Annotated[str, typer.Argument(help="Name of a data set: see `xception-jax data list`.")],
    directory: Annotated[
        str | None, typer.Option(help="Directory for the prepared data set.")
    ] = None,
    from_directory: Annotated[
        str | None, typer.Option("--from", help="Directory of the files to import.")
    ] = None,
) -> int:
    """Prepare a data set for training.

    Example: `xception-jax data prepare fashion_mnist --from /usr/share/datasets/fashion-mnist`
    """
    from xception_jax.data import prepare

    path = prepare(name, directory=directory, from_directory=from_directory)
    console.print(f"{name} is ready in {path}")
    return 0
