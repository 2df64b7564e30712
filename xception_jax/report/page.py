"""The report's page: one HTML file without scripts, that loads nothing from anywhere.

`templates/` holds the frame, its parts and the style sheet; here is what fills them in.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import Affine2D

from xception_jax.report.arm_styles import COLORS, DARK_COLORS, ArmStyle, arm_styles
from xception_jax.report.canvas import ReportFigure
from xception_jax.report.claim_tables import (
    audit_table,
    claim_title,
    describe_pairing,
    endpoint_table,
    replication_table,
    settings_table,
)
from xception_jax.report.compute_tables import (
    compute_notes,
    compute_table,
    describe_compute,
    speed_notes,
)
from xception_jax.report.factors import factor_notes, factor_table, read_factorial
from xception_jax.report.noise_tables import NOISE_NOTES, noise_table
from xception_jax.report.sensitivity import tuning_notes, tuning_table
from xception_jax.report.summary import Summary
from xception_jax.report.tables import (
    Table,
    arm_table,
    describe_devices,
    describe_scope,
    describe_spread,
    describe_versions,
    run_table,
    seed_table,
)
from xception_jax.statistics.bases import describe_bases, parts_of
from xception_jax.statistics.contrasts import has_begun
from xception_jax.statistics.declared import describe_history
from xception_jax.statistics.json_types import Audit, SpentCompute, Verdicts
from xception_jax.statistics.results import SETTLED, Run, Sweep

Definition = tuple[str, str | None, bool]
"""A term, what it is, and whether that is code."""


@dataclass(frozen=True)
class PageFigure:
    """A figure and its drawing, in both layouts, as SVG for the page."""

    about: ReportFigure
    svg: str


@dataclass(frozen=True)
class MadeBy:
    """How the page came about.

    Attributes:
        command: the command that made the report, if it is known.
        at: when, as text.
        data_files: names of the files beside the page that hold what it shows, figures apart.
        refresh: seconds after which the page loads itself again; None: never.
    """

    command: str | None
    at: str
    data_files: tuple[str, ...]
    refresh: float | None = None


def render_page(
    sweep: Sweep,
    summary: Summary,
    figures: Sequence[PageFigure],
    *,
    audit: Audit,
    verdicts: Verdicts,
    made_by: MadeBy,
) -> str:
    """The whole page as HTML.

    Args:
        sweep: the sweep.
        summary: the numbers of the sweep.
        figures: the figures with their drawings, A and F in any case.
        audit: the result of `audit`.
        verdicts: the content of `verdicts.json`.
        made_by: the command and the time of the report.
    """
    templates = _templates()
    styles = arm_styles(list(sweep.arms))
    factorials = [(part.base, read_factorial(part)) for part in parts_of(sweep)]
    common = {"styles": styles, "colors": COLORS, "dark_colors": DARK_COLORS}
    style = templates.get_template("page.css.jinja").render(common)
    return templates.get_template("page.html.jinja").render(
        common,
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        refresh=made_by.refresh and max(1, round(made_by.refresh)),
        sweep=sweep,
        settled=sum(run.status in SETTLED for run in sweep.runs),
        claims=verdicts["claims"],
        scope=describe_scope(sweep.runs, summary.statuses),
        statuses=summary.statuses,
        brief=_brief(sweep, made_by),
        figures=_by_kind(figures),
        arm_table=arm_table(summary),
        arm_notes=_arm_notes(summary),
        factor_tables=[
            (base and base.name, factor_table(factorial), factor_notes(factorial))
            for base, factorial in factorials
            if factorial
        ],
        seed_table=seed_table(sweep, summary),
        seed_notes=_seed_notes(summary),
        noise_table=noise_table(verdicts),
        noise_notes=NOISE_NOTES,
        audit=_audit(sweep, audit),
        run_table=run_table(summary),
        run_notes=_run_notes(sweep, summary),
        tuning_table=tuning_table(sweep),
        tuning_notes=tuning_notes(sweep),
        compute=_compute(verdicts["compute"]),
        override_table=_override_table(sweep),
        provenance=_provenance(sweep, made_by),
    )


def _by_kind(figures: Sequence[PageFigure]) -> dict[str, list[PageFigure]]:
    """The figures by the first character of their letter; there are several of several bases."""
    kinds: dict[str, list[PageFigure]] = {}
    for figure in figures:
        kinds.setdefault(figure.about.letter[0], []).append(figure)
    return kinds


def _templates() -> Environment:
    """Escapes every value in HTML; a name that a template does not know is an error."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {
        "claim_title": claim_title,
        "compute_spent": describe_compute,
        "endpoint_table": endpoint_table,
        "marker_outline": _marker_outline,
        "replication_table": replication_table,
    }
    return templates


def _marker_outline(style: ArmStyle) -> str:
    """An SVG path of the arm's marker, around (15, 6) and 7 pixels wide."""
    marker = MarkerStyle(style.marker)
    to_pixels = marker.get_transform() + Affine2D().scale(7, -7).translate(15, 6)
    outlines = map(np.asarray, marker.get_path().transformed(to_pixels).to_polygons())
    return "".join(
        "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in outline) + "Z" for outline in outlines
    )


def _brief(sweep: Sweep, made_by: MadeBy) -> list[Definition]:
    """The facts that a reader asks for first: devices, code, and how the page was made."""
    started = _started(sweep)
    jax = [dict(run.versions).get("jax", "not known") for run in started]
    commits = [(run.commit or "not known")[:12] for run in started]
    return [
        ("Devices", describe_spread([describe_devices(run) for run in started]), False),
        ("JAX", describe_spread(jax), False),
        ("Commit", describe_spread(commits), True),
        ("Made with", made_by.command, True),
        ("Made at", made_by.at, False),
    ]


# -- notes on tables ---------------------------------------------------------------------------


def _arm_notes(summary: Summary) -> list[str]:
    name = summary.metric_name
    notes = [
        "Mean ± sample standard deviation over the done runs of an arm: validation at each run’s "
        "last evaluation, never at its best, and test as the run recorded it at its end."
    ]
    if summary.statuses["diverged"]:
        notes.append(
            "Diverged runs have no final value here and are counted, not averaged: the means "
            "describe the runs that trained, which flatters an arm that diverges."
        )
    steps = {run.valid_step for run in summary.runs if run.valid_step is not None}
    if len(steps) > 1:
        shown = ", ".join(f"{step:,}" for step in sorted(steps))
        notes.append(f"Runs were last evaluated at different steps ({shown}): compare with care.")
    if any(summary.targets.values()):
        notes.append(
            f"Steps to {summary.target_name}: where validation {name} first reaches the target, "
            "linear between evaluations; in brackets the done or diverged runs that reached it. "
            "The target is one for all arms and claims (of a base): what the experiment declares, "
            "or else 95% of the mean final value over all done runs (of the pilot seeds, if there "
            "are any), to three digits, so that it may change while the sweep is running. ≥: some "
            "runs did not reach it and count with their whole budget; ≤: some were there at their "
            "first evaluation."
        )
    else:
        notes.append(
            "There is no target yet: it comes from done runs, of the pilot seeds if there are any."
        )
    return [*notes, *speed_notes(summary)]


def _seed_notes(summary: Summary) -> list[str]:
    return [
        f"Test {summary.metric_name} of every seed, and the differences of runs that "
        "share a seed; results.csv has every number in full."
    ]


def _run_notes(sweep: Sweep, summary: Summary) -> list[str]:
    notes = []
    if summary.statuses["running"]:
        notes.append(
            "A run that was killed without notice stays “running” until its sweep is started again."
        )
    packed = Counter(run.pack for run in sweep.runs if run.pack and run.pack > 1)
    if packed:
        counts = ", ".join(f"{count} in packs of {size}" for size, count in sorted(packed.items()))
        notes.append(
            f"Packed runs, trained together in one program: {counts}. A packed run equals its solo "
            "run up to rounding, not bit for bit: the package’s tests hold every array of its "
            "state to 1e-4 of the array’s largest value after 4 steps, and its losses to 0.2% "
            "over 9 steps."
        )
    return notes


# -- what was compared, and where it comes from ------------------------------------------------


def _audit(sweep: Sweep, audit: Audit) -> dict[str, Any] | None:
    """The part of the page on the audit; None where there is no pair to check."""
    if sweep.is_single_run or not audit["shared_initial"]:
        return None
    return {
        "pairing": describe_pairing(audit),
        "mismatches": audit["mismatches"],
        "table": audit_table(audit),
        "notes": audit["notes"],
        "settings": settings_table(audit),
    }


def _compute(compute: SpentCompute) -> dict[str, Any] | None:
    """The part of the page on the compute spent; None where nothing is known of it."""
    if not describe_compute(compute):
        return None
    return {"table": compute_table(compute), "notes": compute_notes(compute)}


def _override_table(sweep: Sweep) -> Table:
    rows = tuple(
        (arm, ", ".join(f"{key}={_value(value)}" for key, value in overrides.items()) or "none")
        for arm, overrides in sweep.arms.items()
    )
    return Table(("arm", "what it changes in the base settings"), (False, False), rows)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _started(sweep: Sweep) -> list[Run]:
    return [run for run in sweep.runs if has_begun(run)]


def _provenance(sweep: Sweep, made_by: MadeBy) -> list[Definition]:
    started = _started(sweep)
    versions = describe_versions(started) or dict(sweep.versions)
    commits = [run.commit or "not known" for run in started] or [sweep.commit or "not known"]
    return [
        ("Sweep made with", sweep.command, True),
        ("Sweep made at", sweep.created, False),
        ("Declared", describe_history(sweep), False),
        ("Bases", describe_bases(sweep), False),
        ("Report made with", made_by.command, True),
        ("Commit", describe_spread(commits), True),
        *((name, number, False) for name, number in versions.items()),
        ("Data files", ", ".join(made_by.data_files), False),
    ]
