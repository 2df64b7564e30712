"""`status`: show the state of runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from xception_jax.commands.console import Directory, console, plain_table, warn
from xception_jax.errors import printable, shortened
from xception_jax.remote import copied

if TYPE_CHECKING:
    from xception_jax.sweep.statuses import RunStatus


def status(directory: Directory) -> int:
    """Show the status of each run of a sweep, and the reason for it.

    Example: `xception-jax status results/nonlinearity`
    """
    from rich.table import Column

    from xception_jax.commands.display import headline
    from xception_jax.json_values import as_mapping, as_real, as_text
    from xception_jax.records import METRICS
    from xception_jax.statistics.compute import packed_runs
    from xception_jax.sweep.ledger import read_base_paths
    from xception_jax.sweep.statuses import list_strangers

    names = ("run", "status", "result", "images/s", "why")
    table = plain_table(*(Column(name, overflow="fold") for name in names))
    with copied(directory) as local:
        runs, bases, strangers = _statuses(local), read_base_paths(local), list_strangers(local)
    if bases:
        listed = "; ".join(f"{as_text(name)}: {as_text(path)}" for name, path in bases.items())
        console.print(f"bases: {listed}")
    for run in runs:
        result = as_mapping(run.record.get("result"))
        speed = as_real(run.record.get("images_per_second"))
        pack = packed_runs(run.record)
        has_metric = any(as_real(result.get(metric)) is not None for metric in METRICS)
        table.add_row(
            f"{as_text(run.arm)} seed {as_text(run.seed)}",
            run.status,
            f"{as_text(result.get('split'))} {headline(result)}" if has_metric else "",
            (f"{speed:,.0f}" + (f" (pack of {pack})" if pack else "")) if speed else "",
            as_text(run.reason),
        )
    console.print(table)
    for name in strangers:
        warn(f"note: left out: {printable(shortened(name))} is not inside of the sweep")
    return 0


def _statuses(directory: Path) -> "list[RunStatus]":
    """The status of each run, of a sweep in its own directory or in an archive."""
    from xception_jax.json_values import as_text
    from xception_jax.records import SWEEP
    from xception_jax.sweep.ledger import read_ledger
    from xception_jax.sweep.statuses import RunStatus, is_archived, list_runs, read_statuses

    if not is_archived(directory):
        return read_statuses(directory)
    from xception_jax.report.reading import open_source

    source = open_source(directory, read_ledger(directory / SWEEP, all_inside=False))
    statuses = []
    for row in list_runs(directory):
        files = source.files(row["directory"], [])
        record = {"status": "planned"} if files.record is None else files.record
        status = "unreadable" if files.changed else as_text(record.get("status") or "unreadable")
        reason = "; ".join(files.changed) or record.get("reason")
        statuses.append(RunStatus(row["arm"], row["seed"], status, reason, record))
    return statuses
