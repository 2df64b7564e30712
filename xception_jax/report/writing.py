"""Puts a report together: reads a directory, and writes figures, tables and the page beside it."""

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from xception_jax.records import REPORT
from xception_jax.regular_files import inside
from xception_jax.report.claim_tables import verdict_table
from xception_jax.report.evaluation import evaluate
from xception_jax.report.latex import latex_table
from xception_jax.report.placing import place_files
from xception_jax.report.reading import read_directory
from xception_jax.report.tables import arm_table, headline, results_frame
from xception_jax.statistics.json_types import Verdicts
from xception_jax.statistics.looks import has_open_claim
from xception_jax.statistics.results import Sweep

if TYPE_CHECKING:
    from xception_jax.report.page import PageFigure


@dataclass(frozen=True)
class ReportResult:
    """The files that a report wrote, and what a terminal shows of it.

    Attributes:
        page: the page, to be opened in a browser.
        paths: every file written, the page last.
        headline: the state of the runs in one line.
        columns: names of the columns of `rows`.
        rows: one row of text per arm. Text from files is as it was there: escape it for Rich.
        notes: what was broken and left out, one line each.
        verdicts: what `verdicts.json` holds.
        has_ended: whether no run can change by itself.
    """

    page: Path
    paths: tuple[Path, ...]
    headline: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    verdicts: Verdicts
    has_ended: bool


def write_report(
    directory: Path, *, command: str | None = None, refresh: float | None = None
) -> ReportResult:
    """Writes `directory/report/` from the files of a sweep or of a run, ended or not.

    Args:
        directory: what `sweep` or `train` was given as --workdir, or an archive.
        command: the command line that asked for the report, to be shown on the page.
        refresh: seconds after which the page loads itself again while the sweep runs; None: never.

    Raises:
        InputError: the directory holds no sweep and no run, or the report cannot be written.
    """
    # Matplotlib and Jinja2 take longer to load than all else: only where a page is written.
    from xception_jax.report.page import MadeBy, render_page
    from xception_jax.report.sensitivity import tuning_runs_frame

    directory = Path(directory)
    sweep = read_directory(directory)
    target = inside(directory, REPORT)
    evaluation = evaluate(sweep)
    summary, findings, verdicts = evaluation.summary, evaluation.findings, evaluation.verdicts
    table = arm_table(summary)
    data_files = {
        **_data_files("results", results_frame(summary)),
        "results.tex": latex_table(table),
        **_data_files("curves", sweep.curves.drop("run")),
    }
    if (tuning_runs := tuning_runs_frame(sweep)) is not None:
        data_files |= _data_files("tuning", tuning_runs)
    if claims := verdicts["claims"]:
        data_files["verdicts.tex"] = latex_table(verdict_table(claims))
    data_files["verdicts.json"] = evaluation.verdicts_file()
    data_files["audit.json"] = json.dumps(findings, indent=2).encode()
    data_files["checklist.md"] = evaluation.checklist_file()
    figures, files = _draw(sweep, verdicts)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    has_ended = sweep.has_ended and not has_open_claim(verdicts)
    made_by = MadeBy(command, made, tuple(data_files), None if has_ended else refresh)
    page = render_page(sweep, summary, figures, audit=findings, verdicts=verdicts, made_by=made_by)
    contents = {**data_files, **files, "index.html": page.encode(errors="replace")}
    return ReportResult(
        page=target / "index.html",
        paths=place_files(target, contents, field=REPORT),
        headline=headline(sweep, summary),
        columns=table.columns,
        rows=table.rows,
        notes=sweep.notes,
        verdicts=verdicts,
        has_ended=has_ended,
    )


def _draw(sweep: Sweep, verdicts: Verdicts) -> tuple[list["PageFigure"], dict[str, bytes]]:
    """The figures as the page shows them, and the contents of their files by name."""
    from xception_jax.report.canvas import NARROW, WIDE
    from xception_jax.report.export import export, export_svg, inline_svg, tooltips
    from xception_jax.report.figures import report_figures
    from xception_jax.report.page import PageFigure

    shown: list[PageFigure] = []
    contents: dict[str, bytes] = {}
    for figure in report_figures(sweep, verdicts):
        wide, narrow = figure.draw(WIDE), figure.draw(NARROW)
        files = export(wide)
        contents |= {f"{figure.name}.{kind}": content for kind, content in files.items()}
        drawings = [
            inline_svg(
                svg, name=figure.name, label=figure.title, layout=layout, titles=tooltips(drawn)
            )
            for svg, layout, drawn in (
                (files["svg"], "wide", wide),
                (export_svg(narrow), "narrow", narrow),
            )
        ]
        shown.append(PageFigure(figure, "".join(drawings)))
    return shown, contents


def _data_files(name: str, frame: pl.DataFrame) -> dict[str, bytes]:
    """The frame as CSV, for people, and as Parquet, which keeps the types."""
    csv, parquet = io.BytesIO(), io.BytesIO()
    # In a spreadsheet a cell that begins with one of these would be a formula, and would be run.
    texts = (pl.col(name) for name, kind in frame.schema.items() if kind == pl.String)
    harmless = [text.str.replace(r"^([=+\-@\t\r])", "'${1}") for text in texts]
    frame.with_columns(harmless).write_csv(csv)
    frame.write_parquet(parquet)
    return {f"{name}.csv": csv.getvalue(), f"{name}.parquet": parquet.getvalue()}
