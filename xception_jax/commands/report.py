"""`report`: figures, tables, verdicts and a page from the files of a sweep or a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xception_jax.commands.console import (
    Directory,
    command_line,
    console,
    directory_parser,
    plain_table,
    warn,
)
from xception_jax.errors import InputError
from xception_jax.remote import copied, require_local, url_of

if TYPE_CHECKING:
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
    from xception_jax.report.claim_tables import verdict_table
    from xception_jax.report.compute_tables import describe_compute

    console.print(written.headline)
    console.print(plain_table(*written.columns, rows=written.rows))
    if claims := written.verdicts["claims"]:
        console.print()
        for number, claim in enumerate(claims, 1):
            console.print(f"{number}. {claim['verdict']}: {claim['sentence']}")
            if replication := claim.get("replication"):
                console.print(f"   {replication['sentence']}")
        console.print()
        verdicts = verdict_table(claims)
        console.print(plain_table(*verdicts.columns, rows=verdicts.rows))
    if spent := describe_compute(written.verdicts["compute"]):
        console.print(spent)
    for note in written.notes:
        warn(note)
    page = written.page if url_of(directory) is None else f"{url_of(directory)}/report/index.html"
    console.print(f"the page: {page}")
