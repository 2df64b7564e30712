"""`report`: figures, tables and a page from the files of a sweep or a run."""

from xception_jax.commands.console import Directory, command_line, console, warn


def report(directory: Directory) -> int:
    """Write figures, tables and a page into DIRECTORY/report, also while the sweep runs.

    Example: `xception-jax report results/nonlinearity`
    """
    from rich.table import Table

    from xception_jax.analysis import write_report

    written = write_report(directory, command=command_line())
    table = Table(*written.columns, box=None, pad_edge=False)
    for row in written.rows:
        table.add_row(*row)
    console.print(written.headline)
    console.print(table)
    for note in written.notes:
        warn(note)
    console.print(f"the page: {written.page}")
    return 0
