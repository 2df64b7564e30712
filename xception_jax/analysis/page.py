"""The report's page: one HTML file without scripts, that loads nothing from anywhere.

`page.html` is the frame and `page.css` the looks; here the parts are filled in. Every text that
came from a file goes through `_text`.
"""

import base64
import hashlib
import json
from collections import Counter
from html import escape
from pathlib import Path
from string import Template

from xception_jax.analysis.drawing import Style, arm_styles
from xception_jax.analysis.figures import Figure
from xception_jax.analysis.read import Run, Sweep
from xception_jax.analysis.summary import Summary
from xception_jax.analysis.tables import (
    Table,
    arm_table,
    describe_scope,
    describe_spread,
    run_table,
)

_HERE = Path(__file__).parent
_READING = (
    "Thin lines: one seed each. Thick lines: mean over the n seeds of an arm. Band: 95% confidence "
    "interval of that mean, at each step by itself (Student’s t over seeds), where at least two "
    "seeds have the step."
)
_PHONE = "screen and (max-width: 40rem)"


def render_page(
    sweep: Sweep,
    summary: Summary,
    figures: dict[str, Figure],
    *,
    command: str | None,
    made: str,
) -> str:
    """The whole page.

    Args:
        sweep: what was read.
        summary: its numbers.
        figures: by name: `validation_top1` and `validation_loss`.
        command: the command that made the report, if it is known.
        made: when the report was made, as text.
    """
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    digest = hashlib.sha256(style.encode()).digest()
    styles = arm_styles(list(sweep.arms))
    return Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
        style=style,
        style_hash=base64.b64encode(digest).decode(),
        title=_text(sweep.name),
        question=_question(sweep),
        counts="".join(_count(status, n) for status, n in summary.statuses.items()),
        scope=_scope(sweep, summary),
        accuracy_figure=_figure(figures["validation_top1"], _READING),
        loss_figure=_figure(figures["validation_loss"], "Drawn as above."),
        arm_table=_table(arm_table(summary), "Results by arm", styles),
        arm_notes=_notes(_arm_notes(summary)),
        run_table=_table(run_table(summary), "Every run", styles),
        run_notes=_notes(_run_notes(summary)),
        overrides=_overrides(sweep, styles),
        claims=_claims(sweep),
        provenance=_provenance(sweep, command, made),
        notes=_notes(list(sweep.notes)),
    )


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _question(sweep: Sweep) -> str:
    if sweep.is_single_run:
        return '<p class="question">A single run.</p>'
    lines = []
    if sweep.hypothesis:
        lines.append(f'<p class="question">Hypothesis: {_text(sweep.hypothesis)}</p>')
    if sweep.reference:
        lines.append(f'<p class="quiet">{_text(sweep.reference)}</p>')
    return "\n".join(lines)


def _count(status: str, n: int) -> str:
    return f"<li>{n} {'not started' if status == 'planned' else _text(status)}</li>"


def _scope(sweep: Sweep, summary: Summary) -> str:
    scope = describe_scope(sweep.runs, summary.statuses)
    unfinished = summary.statuses["running"] + summary.statuses["planned"]
    progress = " The sweep has not ended: every number here can still change." if unfinished else ""
    return (
        f"Descriptive results of {_text(scope)}. This page draws no verdict: it shows what was "
        f"measured here, and says nothing about other data, models or budgets.{progress}"
    )


# -- figures and tables ------------------------------------------------------------------------


def _figure(figure: Figure, reading: str) -> str:
    """The drawing as an image of the page's own, in which no script can run."""

    def source(svg: str) -> str:
        return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()

    caption = " ".join((reading, *figure.notes))
    alternative = f"{figure.title} against training steps; the table of results has the numbers."
    return (
        f"<figure><picture>"
        f'<source media="{_PHONE}" srcset="{source(figure.narrow_svg)}">'
        f'<img src="{source(figure.svg)}" alt="{_text(alternative)}">'
        f"</picture><figcaption>{_text(caption)}</figcaption></figure>"
    )


def _table(table: Table, name: str, styles: dict[str, Style]) -> str:
    """A table whose first column is the arm, in a box that scrolls by itself."""
    kinds = ["number" if numeric else "words" for numeric in table.numeric]
    if "reason" in table.columns:
        kinds[table.columns.index("reason")] = "reason"
    heads = "".join(
        f'<th scope="col" class="{kind}">{_text(column)}</th>'
        for column, kind in zip(table.columns, kinds, strict=True)
    )
    rows = []
    for arm, *cells in table.rows:
        body = "".join(
            f'<td class="{kind}">{_text(cell)}</td>'
            for cell, kind in zip(cells, kinds[1:], strict=True)
        )
        rows.append(f'<tr><th scope="row">{_swatch(styles[arm])}{_text(arm)}</th>{body}</tr>')
    return (
        f'<div class="box" role="region" aria-label="{_text(name)}" tabindex="0"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _swatch(style: Style) -> str:
    dashes = " ".join(str(length) for length in style.dash)
    dash = f' stroke-dasharray="{dashes}"' if style.dash[1] else ""
    return (
        '<svg class="swatch" width="30" height="12" aria-hidden="true"><line x1="2" x2="28" y1="6" '
        f'y2="6" stroke="{style.color}" stroke-width="2.5"{dash}/></svg>'
    )


def _notes(notes: list[str]) -> str:
    if not notes:
        return ""
    return f'<ul class="notes">{"".join(f"<li>{_text(note)}</li>" for note in notes)}</ul>'


def _arm_notes(summary: Summary) -> list[str]:
    notes = [
        "Mean ± sample standard deviation over the done runs of an arm: validation at each run’s "
        "last evaluation, never at its best, and test as the run recorded it at its end."
    ]
    if summary.statuses["diverged"]:
        notes.append(
            "Diverged runs have no final accuracy and are counted, not averaged: the means "
            "describe the runs that trained, which flatters an arm that diverges."
        )
    steps = {each.valid_step for each in summary.runs if each.valid_step is not None}
    if len(steps) > 1:
        shown = ", ".join(f"{step:,}" for step in sorted(steps))
        notes.append(f"Runs were last evaluated at different steps ({shown}): compare with care.")
    if summary.target is None:
        return [*notes, "Steps to a target need a done run: no target accuracy yet."]
    return [
        *notes,
        f"Steps to {summary.target:.2f}: where validation top-1 first reaches the target, linear "
        "between evaluations; in brackets the done or diverged runs that reached it. The target "
        "is 95% of the lowest arm’s mean final validation top-1, rounded down to two decimals, so "
        "it follows from the results of all arms and may change while the sweep is running. "
        "≥: some runs did not reach it and count with their whole budget; ≤: some were there at "
        "their first evaluation.",
        "Images/s is what each run measured as it trained; what else the machine did is not known.",
    ]


def _run_notes(summary: Summary) -> list[str]:
    if not summary.statuses["running"]:
        return []
    return [
        "A run that was killed without notice stays “running” until its sweep is started again."
    ]


# -- what was compared, and where it comes from ------------------------------------------------


def _overrides(sweep: Sweep, styles: dict[str, Style]) -> str:
    if sweep.is_single_run:
        return '<p class="quiet">One run; its settings are in config.json beside it.</p>'
    rows = tuple(
        (arm, ", ".join(f"{key}={_value(value)}" for key, value in overrides.items()) or "none")
        for arm, overrides in sweep.arms.items()
    )
    table = Table(("arm", "what it changes in the base settings"), (False, False), rows)
    return _table(table, "Arms", styles)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _claims(sweep: Sweep) -> str:
    if not sweep.claims:
        return ""
    items = "".join(f"<li>{_text(claim)}</li>" for claim in sweep.claims)
    return f"<p>Claims declared in the experiment, not judged here:</p><ul>{items}</ul>"


def _provenance(sweep: Sweep, command: str | None, made: str) -> str:
    started = [run for run in sweep.runs if run.status not in ("planned", "unreadable")]
    versions: dict[str, list[str]] = {}
    for run in started:
        for name, number in run.versions:
            versions.setdefault(name, []).append(number)
    if not versions:
        versions = {name: [number] for name, number in sweep.versions}
    commits = [run.commit or "not known" for run in started] or [sweep.commit or "not known"]
    rows = [
        ("Sweep made with", _code(sweep.command)),
        ("Sweep made at", _text(sweep.created) if sweep.created else ""),
        ("Report made with", _code(command)),
        ("Report made at", _text(made)),
        ("Commit", _code(describe_spread(commits))),
        ("Devices", _text(describe_spread([_devices(run) for run in started]))),
        *((_text(name), _text(describe_spread(numbers))) for name, numbers in versions.items()),
        ("Data files", "results.csv, results.parquet, curves.csv, curves.parquet in this folder"),
    ]
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{row}</dd>" for name, row in rows if row) + "</dl>"


def _code(text: str | None) -> str:
    return f"<code>{_text(text)}</code>" if text else ""


def _devices(run: Run) -> str:
    counts = Counter(run.devices)
    parts = [name if count == 1 else f"{count} × {name}" for name, count in counts.items()]
    return ", ".join(parts) or "not known"
