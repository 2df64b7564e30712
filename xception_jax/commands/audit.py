"""`audit`: whether the runs of a seed differ in what their arms declare, and in nothing else."""

import json
from typing import Annotated

import typer

from xception_jax.commands.console import Directory, console, warn
from xception_jax.remote import copied


def audit(
    directory: Directory,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, for programs.")] = False,
) -> int:
    """Check that the arms of a sweep are paired: same start, same data, same machine and code.

    Exits with 0 when everything pairs, with 1 when something does not.

    Example: `xception-jax audit results/nonlinearity`
    """
    from rich.table import Table

    from xception_jax.report.claim_tables import audit_table, describe_pairing, settings_table
    from xception_jax.report.reading import read_directory
    from xception_jax.statistics.audit import audit as audit_sweep

    with copied(directory) as here:
        sweep = read_directory(here)
        found = audit_sweep(sweep)
    if as_json:
        console.print(json.dumps(found, indent=2))
        return 1 if found["mismatches"] else 0
    for content in (audit_table(found), settings_table(found)):
        table = Table(*content.columns, box=None, pad_edge=False)
        for row in content.rows:
            table.add_row(*row)
        console.print(table)
        console.print()
    console.print(describe_pairing(found))
    for mismatch in found["mismatches"]:
        warn(f"{mismatch['kind']}: {mismatch['text']}")
    for note in [*found["notes"], *sweep.notes]:
        warn(f"note: {note}")
    return 1 if found["mismatches"] else 0
