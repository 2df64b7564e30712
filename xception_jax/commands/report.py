"""`report`: figures, tables, verdicts and a page from the files of a sweep or a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xception_jax.commands.console import (
    Directory,
    command_line,
    console,
    directory_parser,
    warn,
)
from xception_jax.errors import InputError
from xception_jax.remote import copied, require_local, url_of

if TYPE_CHECKING:
    from rich.table import Table

    from xception_jax.report import ReportResult


def report(
    directory: Directory,
    seconds: Annotated[
        float | None, typer.Argument(help="With --watch: seconds between updates; default: 10.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Update the report until the sweep has ended.")
    ] = False,
    archive: Annotated[
        Path | None,
        typer.Option(
            parser=directory_parser("--archive"),
            metavar="OUT",
            help="Also write a small directory from which `report OUT` makes the report again.",
        ),
    ] = None,
) -> int:
    """Write figures, tables, verdicts and a page into DIRECTORY/report.

    This also works while the sweep runs. With --watch the page is updated and reloads itself until
    the sweep has ended; Ctrl-C stops that.

    An archive is a sweep's record for a repository: what its runs recorded, without checkpoints and
    without paths of this machine. `report`, `audit` and `status` read it like the sweep itself.

    Example: `xception-jax report results/nonlinearity --watch 5`

    Example: `xception-jax report results/nonlinearity --archive docs/studies/nonlinearity`
    """
    from xception_jax.report import write_report
    from xception_jax.report.watch import SECONDS, watch_report

    if seconds is not None and not watch:
        raise InputError("SECONDS", seconds, "goes with --watch, and only with it")
    if archive is not None and watch:
        raise InputError("--archive", str(archive), "goes without --watch")
    command = command_line()
    if not watch:
        with copied(directory, changes=True) as local:
            if archive is not None:
                _write_archive(local, archive)
            _show(write_report(local, command=command), directory)
        return 0
    require_local("--watch", directory, "follows a directory of this machine")
    try:
        interval = SECONDS if seconds is None else seconds
        for written in watch_report(directory, seconds=interval, command=command):
            console.print(f"{written.headline}; the page: {written.page}")
    except KeyboardInterrupt:  # leave a page that no longer reloads itself
        written = write_report(directory, command=command)
    _show(written, directory)
    return 0


def _write_archive(directory: Path, target: Path) -> None:
    from xception_jax.report.archiving import write_archive

    require_local("--archive", target, "is written on this machine")
    paths = write_archive(directory, target)
    size = sum(path.stat().st_size for path in paths)
    console.print(f"the archive: {target}, {len(paths)} files, {size / 1e6:.2f} MB")


def _show(written: "ReportResult", directory: Path) -> None:
    from rich.table import Table

    from xception_jax.report.compute_tables import describe_compute

    table = Table(*written.columns, box=None, pad_edge=False)
    for row in written.rows:
        table.add_row(*row)
    console.print(written.headline)
    console.print(table)
    if claims := written.verdicts["claims"]:
        console.print()
        for number, claim in enumerate(claims, 1):
            console.print(f"{number}. {claim['verdict']}: {claim['sentence']}")
            if replication := claim.get("replication"):
                console.print(f"   {replication['sentence']}")
        console.print()
        console.print(_verdict_table(claims))
    if spent := describe_compute(written.verdicts["compute"]):
        console.print(spent)
    for note in written.notes:
        warn(note)
    page = written.page if url_of(directory) is None else f"{url_of(directory)}/report/index.html"
    console.print(f"the page: {page}")


def _verdict_table(claims: list[Mapping[str, Any]]) -> "Table":
    """A table with a row per claim and endpoint; a claim without endpoints has one row."""
    from rich.table import Table

    from xception_jax.report.claim_tables import describe_improvement, short_number

    columns = ("claim", "verdict", "grade", "pairs", "endpoint", "effect", "interval", "p")
    table = Table(*columns, "adjusted p", "P(improvement)", box=None, pad_edge=False)
    for number, claim in enumerate(claims, 1):
        grade = (claim["grade"] or "") + " post hoc" * (claim["declared"] == "post hoc")
        pairs = f"{claim['n']['pairs']} of {claim['n']['planned']}"
        if added := claim["added_seeds"]:
            pairs += f" + {len(added)} added"
        first = [f"{number}. {claim['title']}", claim["verdict"], grade, pairs]
        rows = [("", endpoint) for endpoint in claim["endpoints"] or [{}]]
        for on_base in claim.get("bases", ()):
            suffix = f" on {on_base['base']}: {on_base['verdict']}"
            rows += [(suffix, endpoint) for endpoint in on_base["endpoints"]]
        for suffix, endpoint in rows:
            values = [endpoint.get(name) for name in ("effect", "p", "p_adjusted")]
            effect, *rest = ["" if value is None else short_number(value) for value in values]
            rest.append(describe_improvement(endpoint) or "")
            name = endpoint.get("endpoint", "") + suffix
            table.add_row(*first, name, effect, _interval(endpoint), *rest)
            first = [""] * 4
    return table


def _interval(endpoint: Mapping[str, Any]) -> str:
    """`0.0115 to 0.0197`, with its confidence where that is not 95%."""
    from xception_jax.report.claim_tables import short_number
    from xception_jax.statistics.paired import CONFIDENCE

    if endpoint.get("interval") is None:
        return "" if endpoint.get("effect") is None else "infinite"
    low, high = endpoint["interval"]
    confidence = endpoint["confidence"]
    other = "" if round(confidence, 6) == CONFIDENCE else f" ({confidence:.0%})"
    return f"{short_number(low)} to {short_number(high)}{other}"
