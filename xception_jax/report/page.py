"""The report's page: one HTML file without scripts, that loads nothing from anywhere.

`page.html` is the frame and `page.css` the looks; here the parts are filled in.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from xception_jax.records import METRIC_NAMES
from xception_jax.report import page_parts as parts
from xception_jax.report.arm_styles import Style, arm_styles
from xception_jax.report.figures import Plate
from xception_jax.report.page_parts import code, definitions, escaped
from xception_jax.report.summary import Summary
from xception_jax.report.tables import (
    Table,
    arm_table,
    audit_table,
    describe_pairing,
    describe_scope,
    describe_spread,
    run_table,
    seed_table,
    settings_table,
)
from xception_jax.statistics.results import SETTLED, Run, Sweep

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class MadeBy:
    """How the page came about.

    Attributes:
        command: that made the report, if it is known.
        at: when, as text.
        refresh: seconds after which the page loads itself again while the sweep runs; None: never.
    """

    command: str | None
    at: str
    refresh: float | None = None


def render_page(
    sweep: Sweep,
    summary: Summary,
    plates: tuple[Plate, ...],
    *,
    audit: Mapping[str, Any],
    verdicts: Mapping[str, Any],
    made_by: MadeBy,
) -> str:
    """The whole page.

    Args:
        sweep: what was read.
        summary: its numbers.
        plates: the figures.
        audit: what `audit` found.
        verdicts: what `verdicts.json` holds.
        made_by: how it came about.
    """
    styles = arm_styles(list(sweep.arms))
    style = (_HERE / "templates" / "page.css").read_text(encoding="utf-8") + parts.choice_rules(
        styles
    )
    digest = hashlib.sha256(style.encode()).digest()
    return Template((_HERE / "templates" / "page.html").read_text(encoding="utf-8")).substitute(
        style=style,
        style_hash=base64.b64encode(digest).decode(),
        refresh=_refresh(sweep, made_by),
        title=escaped(sweep.name),
        question=_question(sweep),
        progress=_progress(sweep),
        verdicts=parts.verdict_list(verdicts["claims"]),
        scope=_scope(sweep, summary, verdicts),
        counts="".join(_count(status, n) for status, n in summary.statuses.items()),
        brief=_brief(sweep, made_by),
        arms=parts.arm_choice(styles),
        **_figures(plates),
        arm_table=parts.table(arm_table(summary), "Results by arm", styles),
        arm_notes=parts.notes(_arm_notes(summary)),
        seed_table=parts.table(
            seed_table(sweep, summary), "Results by seed", styles, of_arms=False
        ),
        seed_note=_seed_note(summary),
        run_table=parts.table(run_table(summary), "Every run", styles),
        run_notes=parts.notes(_run_notes(sweep, summary)),
        audit=_audit(sweep, audit, styles),
        overrides=_overrides(sweep, styles),
        provenance=_provenance(sweep, made_by),
        notes=parts.notes(sweep.notes),
    )


def _refresh(sweep: Sweep, made_by: MadeBy) -> str:
    if made_by.refresh is None or sweep.has_ended:
        return ""
    return f'<meta http-equiv="refresh" content="{max(1, round(made_by.refresh))}">'


def _figures(plates: tuple[Plate, ...]) -> dict[str, str]:
    """The sections of the figures: the curves, those below them, and the last."""
    sections = {
        each.letter: f"<section><h2>{escaped(each.heading)}</h2>{parts.plate(each)}</section>"
        for each in plates
    }
    middle = "".join(sections[letter] for letter in "BCD" if letter in sections)
    return {"curves": sections["A"], "figures": middle, "loss": sections["F"]}


# -- the head ----------------------------------------------------------------------------------


def _question(sweep: Sweep) -> str:
    if sweep.is_single_run:
        return '<p class="question">A single run.</p>'
    lines = []
    if sweep.hypothesis:
        lines.append(f'<p class="question">{escaped(sweep.hypothesis)}</p>')
    if sweep.reference:
        lines.append(f'<p class="quiet">{escaped(sweep.reference)}</p>')
    return "\n".join(lines)


def _progress(sweep: Sweep) -> str:
    if sweep.has_ended:
        return ""
    ended = sum(run.status in SETTLED for run in sweep.runs)
    said = (
        f"The sweep has not ended: {ended} of {len(sweep.runs)} runs have, and every number here "
        "can still change."
    )
    bar = f'<progress max="{len(sweep.runs)}" value="{ended}"></progress>'
    return f'<div class="running">{bar}<p>{said}</p></div>'


def _scope(sweep: Sweep, summary: Summary, verdicts: Mapping[str, Any]) -> str:
    scope = escaped(describe_scope(sweep.runs, summary.statuses))
    beyond = "says nothing about other data, models or budgets."
    if verdicts["claims"]:
        return f"From {scope}. This page {beyond}"
    return (
        f"From {scope}. No claim was declared, so this page draws no verdict: it shows what was "
        f"measured, and {beyond}"
    )


def _count(status: str, n: int) -> str:
    return f"<li><b>{n}</b> {'not started' if status == 'planned' else escaped(status)}</li>"


def _brief(sweep: Sweep, made_by: MadeBy) -> str:
    """What a reader asks first: on what, with which code, made how."""
    started = _started(sweep)
    jax = [dict(run.versions).get("jax", "not known") for run in started]
    commits = [(run.commit or "not known")[:12] for run in started]
    return definitions(
        [
            ("Devices", escaped(describe_spread([_devices(run) for run in started]))),
            ("JAX", escaped(describe_spread(jax))),
            ("Commit", code(describe_spread(commits))),
            ("Made with", code(made_by.command)),
            ("Made at", escaped(made_by.at)),
        ]
    )


# -- notes on tables ---------------------------------------------------------------------------


def _arm_notes(summary: Summary) -> list[str]:
    name = METRIC_NAMES[summary.metric]
    notes = [
        "Mean ± sample standard deviation over the done runs of an arm: validation at each run’s "
        "last evaluation, never at its best, and test as the run recorded it at its end."
    ]
    if summary.statuses["diverged"]:
        notes.append(
            "Diverged runs have no final value here and are counted, not averaged: the means "
            "describe the runs that trained, which flatters an arm that diverges."
        )
    steps = {each.valid_step for each in summary.runs if each.valid_step is not None}
    if len(steps) > 1:
        shown = ", ".join(f"{step:,}" for step in sorted(steps))
        notes.append(f"Runs were last evaluated at different steps ({shown}): compare with care.")
    if summary.target is None:
        return [*notes, "Steps to a target need a done run: no target yet."]
    return [
        *notes,
        f"Steps to {summary.target:.2f}: where validation {name} first reaches the target, linear "
        "between evaluations; in brackets the done or diverged runs that reached it. The target "
        "is 95% of the lowest arm’s mean final value, rounded down to two decimals, so it follows "
        "from the results of all arms and may change while the sweep is running. ≥: some runs did "
        "not reach it and count with their whole budget; ≤: some were there at their first "
        "evaluation.",
        "Images/s is what each run measured as it trained; what else the machine did is not known.",
    ]


def _seed_note(summary: Summary) -> str:
    return parts.notes(
        [
            f"Test {METRIC_NAMES[summary.metric]} of every seed, and the differences of runs that "
            "share a seed; results.csv has every number in full."
        ]
    )


def _run_notes(sweep: Sweep, summary: Summary) -> list[str]:
    notes = []
    if summary.statuses["running"]:
        notes.append(
            "A run that was killed without notice stays “running” until its sweep is started again."
        )
    packed = Counter(run.pack for run in sweep.runs if run.pack and run.pack > 1)
    if packed:
        said = ", ".join(f"{count} in packs of {size}" for size, count in sorted(packed.items()))
        notes.append(
            f"Packed runs, trained together in one program: {said}. A packed run equals its solo "
            "run to float tolerance, not bit for bit."
        )
    return notes


# -- what was compared, and where it comes from ------------------------------------------------


def _audit(sweep: Sweep, audit: Mapping[str, Any], styles: Mapping[str, Style]) -> str:
    if sweep.is_single_run or not audit["shared_initial"]:
        return ""
    found = audit["mismatches"]
    lead = "good" if not found else "bad"
    lines = "".join(
        f"<li><b>{escaped(each['kind'])}</b> {escaped(each['text'])}</li>" for each in found
    )
    settings = settings_table(audit)
    differing = ""
    if len(settings.columns) > 1:
        heading = "<h3>Settings that differ between the arms</h3>"
        differing = heading + parts.table(settings, "Settings that differ", styles)
    return (
        "<section><h2>Are the arms paired?</h2>"
        f'<p class="{lead}">{describe_pairing(audit).capitalize()}.</p>'
        f'<ul class="mismatches">{lines}</ul>'
        f"{parts.table(audit_table(audit), 'Audit', of_arms=False)}"
        f"{parts.notes(audit['notes'])}{differing}</section>"
    )


def _overrides(sweep: Sweep, styles: Mapping[str, Style]) -> str:
    if sweep.is_single_run:
        return '<p class="quiet">One run; its settings are in config.json beside it.</p>'
    rows = tuple(
        (arm, ", ".join(f"{key}={_value(value)}" for key, value in overrides.items()) or "none")
        for arm, overrides in sweep.arms.items()
    )
    table = Table(("arm", "what it changes in the base settings"), (False, False), rows)
    return parts.table(table, "Arms", styles)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _started(sweep: Sweep) -> list[Run]:
    return [run for run in sweep.runs if run.status not in ("planned", "unreadable")]


def _provenance(sweep: Sweep, made_by: MadeBy) -> str:
    started = _started(sweep)
    versions: dict[str, list[str]] = {}
    for run in started:
        for name, number in run.versions:
            versions.setdefault(name, []).append(number)
    if not versions:
        versions = {name: [number] for name, number in sweep.versions}
    commits = [run.commit or "not known" for run in started] or [sweep.commit or "not known"]
    return definitions(
        [
            ("Sweep made with", code(sweep.command)),
            ("Sweep made at", escaped(sweep.created) if sweep.created else ""),
            ("Report made with", code(made_by.command)),
            ("Commit", code(describe_spread(commits))),
            *((name, escaped(describe_spread(numbers))) for name, numbers in versions.items()),
            ("Data files", "results.csv, results.parquet, curves.csv, curves.parquet, audit.json"),
        ]
    )


def _devices(run: Run) -> str:
    counts = Counter(run.devices)
    said = [name if count == 1 else f"{count} × {name}" for name, count in counts.items()]
    return ", ".join(said) or "not known"
