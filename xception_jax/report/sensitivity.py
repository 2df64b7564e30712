"""Sensitivity curves: the validation of every arm over the values that tuning tried."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from xception_jax.json_values import as_text
from xception_jax.records import METRIC_NAMES
from xception_jax.report.arm_styles import ArmStyle, arm_styles
from xception_jax.report.canvas import (
    LABEL_LENGTH,
    ReportFigure,
    house_style,
    is_wide,
    label_arms,
    legend_height,
    shorten,
    value_panels,
)
from xception_jax.report.panels import PANELS_READING, Panels, draw_by_level, panels_by_level
from xception_jax.report.tables import Table
from xception_jax.statistics.recorded_tuning import Tuning, in_words, read_tuning
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.selection import best_point, is_geometric, mean_score

LETTER = "T"
_LEAST_SPAN = 0.02
READING = (
    "Validation after the last step of the tuning runs, on seeds that no verdict uses. Small dots: "
    "one seed each. Lines: their mean. Rings: what was chosen for each arm. Runs that diverged "
    "count as chance."
)


def tuning_figure(sweep: Sweep) -> ReportFigure | None:
    """One panel a tuned setting, with every arm; None where nothing has been tuned yet.

    Of a single setting, many arms have the panels of the curves.
    """
    tuning = read_tuning(sweep)
    if tuning is None or not any(arm in tuning.scores for arm in sweep.arms):
        return None
    frame, arms = tuning_frame(sweep, tuning), list(sweep.drawn_arms)
    panels = panels_by_level(sweep) if len(tuning.settings) == 1 else {}
    title = f"Validation {METRIC_NAMES[tuning.metric]} over the values that were tried"

    def draw(width: float) -> Figure:
        y_label = title.partition(" over")[0]
        return draw_tuning(frame, arms=arms, panels=panels, y_label=y_label, width=width)

    notes = [READING, *([PANELS_READING] if panels else [])]
    if len(tuning.settings) > 1:
        notes.append("In each panel the other setting is at what was chosen for the arm.")
    return ReportFigure(LETTER, "How the arms were tuned", "tuning", title, tuple(notes), draw)


def tuning_frame(sweep: Sweep, tuning: Tuning) -> pl.DataFrame:
    """One row for each setting, arm, value and seed, with the other setting as chosen.

    Columns: setting, arm, value, score, mean, is_chosen. While an arm is not tuned, the best value
    so far stands for the chosen one, and is not marked.
    """
    rows = []
    for arm in sweep.arms:
        scores = tuning.scores.get(arm, {})
        if not scores:
            continue
        center = tuning.chosen.get(arm) or best_point(scores)
        for at, setting in enumerate(tuning.names()):
            for point in sorted(scores):
                if any(
                    a != b for i, (a, b) in enumerate(zip(point, center, strict=True)) if i != at
                ):
                    continue
                common = {"setting": setting, "arm": arm, "value": point[at]}
                common |= {"mean": mean_score(scores[point])}
                is_chosen = tuning.chosen.get(arm) == point
                rows += [{**common, "score": s, "is_chosen": is_chosen} for s in scores[point]]
    schema: dict[str, Any] = {"setting": pl.String, "arm": pl.String, "value": pl.Float64}
    schema |= {"score": pl.Float64, "mean": pl.Float64, "is_chosen": pl.Boolean}
    return pl.DataFrame(rows, schema=schema)


def tuning_table(sweep: Sweep) -> Table | None:
    """One row per arm: what was chosen, how it came out, and among how many values."""
    tuning = read_tuning(sweep)
    if tuning is None or not tuning.chosen:
        return None
    rows = []
    for arm in sweep.arms:
        point = tuning.chosen.get(arm)
        scores = tuning.scores.get(arm, {})
        if point is None or point not in scores:
            continue
        edges = tuning.at_edge.get(arm, {})
        where = ", ".join(edges.get(name, "inside") for name in tuning.settings)
        values = (f"{value:g}" for value in point)
        mean = f"{mean_score(scores[point]):.4f}"
        rows.append((arm, *values, where, mean, str(len(scores)), str(len(scores[point]))))
    columns = ("arm", *tuning.names(), "on the grid", "mean validation", "values tried", "seeds")
    numeric = (False, *(True for _ in tuning.settings), False, True, True, True)
    return Table(columns, numeric, tuple(rows))


def tuning_notes(sweep: Sweep) -> list[str]:
    """What a reader has to know of the tuning, one sentence each."""
    tuning = read_tuning(sweep)
    if tuning is None or not tuning.chosen:
        return []
    seeds = f"{in_words(tuning.seeds)} seed{'s' * (tuning.seeds != 1)}"
    notes = [
        f"All arms tried the same {tuning.tried} values on the same {seeds}, which no verdict "
        "uses. The best mean won, ties going to the smaller value. Where the best value of any arm "
        "lay at an edge, all arms tried one more value there, at most twice."
    ]
    if at_edge := [arm for arm in sweep.arms if tuning.at_edge.get(arm)]:
        notes.append(
            f"At the edge of what was tried: {', '.join(at_edge)}. A better value may lie beyond."
        )
    if tuning.is_elsewhere:
        notes.append("The tuning runs are in another sweep, from whose record this one started.")
    return notes


def tuning_runs_frame(sweep: Sweep) -> pl.DataFrame | None:
    """One row per tuning run, with a column for each tuned setting; None where there is none."""
    tuning = read_tuning(sweep)
    if tuning is None or not sweep.tuning_runs:
        return None
    rows = [
        {
            "arm": run.arm,
            "seed": run.seed,
            **{name: _number(run.settings.get(name)) for name in tuning.settings},
            "status": run.status,
            "split": run.result_split,
            "metric": run.metric,
            "final_metric": run.final_metric,
            "steps": run.steps,
            "epochs": run.epochs,
            "started": run.started,
            "ended": run.ended,
            "directory": as_text(run.directory),
        }
        for run in sweep.tuning_runs
    ]
    numbers = dict.fromkeys((*tuning.settings, "final_metric", "epochs"), pl.Float64)
    schema = {name: numbers.get(name, pl.String) for name in rows[0]}
    return pl.DataFrame(rows, schema=schema | {"seed": pl.Int64, "steps": pl.Int64})


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


# -- drawing -----------------------------------------------------------------------------------


def draw_tuning(
    frame: pl.DataFrame,
    *,
    arms: Sequence[str],
    panels: Panels,
    y_label: str,
    width: float,
) -> Figure:
    """Draws one panel per setting, or one per level.

    Args:
        frame: as `tuning_frame` makes it.
        arms: the arms of the sweep, in its order, which gives each its color, dashes and marker.
        panels: as `panels_by_level` gives them; not empty for a single setting only.
        y_label: label of the value axes.
        width: inches; above 5, panels stand beside each other, and the legend at the right.

    Returns:
        A figure with one axes per panel.
    """
    with house_style():
        if panels:
            return _draw_levels(frame, arms, panels, y_label, width)
        return _draw_settings(frame, arms, y_label, width)


def _draw_levels(
    frame: pl.DataFrame, arms: Sequence[str], panels: Panels, y_label: str, width: float
) -> Figure:
    (setting,) = frame["setting"].unique()
    return draw_by_level(
        panels,
        arms=arms,
        draw=lambda axes, styles: _draw_panel(axes, frame, styles, 0),
        ends=_range(frame),
        title=y_label,
        x_label=setting.capitalize(),
        width=width,
    )


def _draw_settings(frame: pl.DataFrame, arms: Sequence[str], y_label: str, width: float) -> Figure:
    settings = frame["setting"].unique(maintain_order=True).to_list()
    present = set(frame["arm"].unique())
    styles = {arm: look for arm, look in arm_styles(arms).items() if arm in present}
    labels, wide = {arm: shorten(arm, LABEL_LENGTH) for arm in styles}, is_wide(width)
    legend = legend_height(labels, width, beside=wide)
    height = max(2.7, 0.3 + legend) if wide else 0.4 + 2.1 * len(settings) + legend
    figure, panels = value_panels(
        len(settings), label=y_label, ends=_range(frame), width=width, height=height
    )
    for index, (setting, axes) in enumerate(zip(settings, panels, strict=True)):
        axes.set_gid(f"panel-{index}")
        _draw_panel(axes, frame.filter(setting=setting), styles, index)
        axes.set_xlabel(setting.capitalize())
    label_arms(figure, labels, styles, beside=wide)
    return figure


def _range(frame: pl.DataFrame) -> tuple[float, float]:
    """Ends of the value axis: every score, with some room."""
    low, high = float(frame["score"].min()), float(frame["score"].max())  # type: ignore[arg-type]
    missing = max(0.0, _LEAST_SPAN - (high - low)) / 2
    room = 0.06 * (high - low) + missing
    return low - room, high + room


def _draw_panel(axes: Axes, rows: pl.DataFrame, styles: Mapping[str, ArmStyle], index: int) -> None:
    """Seeds below means below rings; the axis is logarithmic where the values are geometric."""
    values = rows["value"].unique().sort().to_list()
    if len(values) > 1 and is_geometric(values):
        positive = [value for value in values if value > 0]
        if values[0] > 0:
            axes.set_xscale("log")
        else:
            axes.set_xscale("symlog", linthresh=positive[0])
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if len(values) > 5:
        axes.tick_params(axis="x", labelrotation=45)
    for arm, look in styles.items():
        points = rows.filter(arm=arm)
        axes.plot(
            points["value"], points["score"], color=look.color, marker=".", markersize=3,
            linestyle="", alpha=0.6, gid=f"seeds-{index}-{look.gid}",
        )  # fmt: skip
        means = points.unique("value").sort("value")
        axes.plot(
            means["value"], means["mean"], color=look.color, linestyle=look.linestyle,
            marker=look.marker, zorder=2.2, gid=f"mean-{index}-{look.gid}",
        )  # fmt: skip
        chosen = means.filter(pl.col("is_chosen"))
        axes.plot(
            chosen["value"], chosen["mean"], color=look.color, marker="o", markersize=11,
            markerfacecolor="none", markeredgewidth=1.4, linestyle="", zorder=2.3,
            gid=f"chosen-{index}-{look.gid}",
        )  # fmt: skip
