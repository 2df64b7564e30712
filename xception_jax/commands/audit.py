"""`audit`: check that runs of one seed differ only in what their arms declare."""

import json
from typing import Annotated

import typer

from xception_jax.commands.console import Directory, console, plain_table, warn
from xception_jax.remote import as_typed, copied


def audit(
    directory: Directory,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Check that the arms of a sweep are paired: same initial values, data, machine and code.

    Exits with 1 if anything does not pair.

    Example: `xception-jax audit results/nonlinearity`
    """
    from xception_jax.report.claim_tables import audit_table, describe_pairing, settings_table
    from xception_jax.report.reading import read_directory
    from xception_jax.statistics.audit import audit as audit_sweep

    with copied(directory) as local:
        sweep = read_directory(local)
        pairing = audit_sweep(sweep)
    if as_json:
        console.print(json.dumps(pairing, indent=2))
        return 1 if pairing["mismatches"] else 0
    if sweep.is_single_run:
        console.print(
            f"{as_typed(directory)} holds one run, which has no pairs: give a sweep to compare arms"
        )
    else:
        for content in (audit_table(pairing), settings_table(pairing)):
            console.print(plain_table(*content.columns, rows=content.rows))
            console.print()
        console.print(describe_pairing(pairing))
    for mismatch in pairing["mismatches"]:
        warn(f"{mismatch['kind']}: {mismatch['text']}")
    for note in [*pairing["notes"], *sweep.notes]:
        warn(f"note: {note}")
    return 1 if pairing["mismatches"] else 0
