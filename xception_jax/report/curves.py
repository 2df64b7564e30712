"""Validation curves: every run thin, the mean of every arm thick, with its confidence band."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xception_jax.report.arm_styles import ArmStyle, arm_styles
from xception_jax.report.axes import ValueAxis, thin, thin_lines, value_axis
from xception_jax.report.canvas import (
    WIDE,
    ReportFigure,
    house_style,
    is_wide,
    label_arms,
    legend_height,
    set_step_axis,
    set_value_axis,
    shorten,
)
from xception_jax.statistics.descriptive import mean_band
from xception_jax.statistics.results import Sweep

MOST_MARKERS = 25
"""Means of more evaluations than this have a marker at about every twelfth of them only."""
LABEL_LENGTH = 26
READING = (
    "Thin lines: one seed each. Thick lines: mean over the n seeds of an arm. Band: 95% confidence "
    "interval of that mean, at each step by itself (Student’s t over seeds), where at least two "
    "seeds have the step."
)


@dataclass(frozen=True)
class Quantity:
    """A column of the logs that a figure shows over the steps."""

    column: str
    title: str
    bounds: tuple[float, float]
    least_span: float


QUANTITIES = {
    "top1": Quantity("top1", "Validation top-1 accuracy", (0.0, 1.0), 0.02),
    "map100": Quantity("map100", "Validation MAP@100", (0.0, 1.0), 0.02),
    "loss": Quantity("loss", "Validation loss (cross-entropy, nats)", (0.0, 1e300), 0.02),
}


@dataclass(frozen=True)
class CurveFrames:
    """What a figure of curves is drawn from.

    Attributes:
        seeds: columns run, arm, seed, step, value; at evenly spaced evaluations if there are many.
        means: columns arm, step, n, mean, low, high; low and high are null where there is no band.
        ends: columns run, arm, step, value: the last finite value of every diverged run.
        axis: range of the value axis.
        y_label: label of that axis; it says so where the axis is cut.
        notes: what a reader has to know of the figure, one sentence each.
    """

    seeds: pl.DataFrame
    means: pl.DataFrame
    ends: pl.DataFrame
    axis: ValueAxis
    y_label: str
    notes: tuple[str, ...]


def curve_figure(sweep: Sweep, column: str, *, letter: str, heading: str) -> ReportFigure:
    """Validation curves of all runs that have any; `column` is a key of `QUANTITIES`."""
    frames = curve_frames(sweep, column)
    x_label = step_label(sweep)

    def draw(width: float) -> Figure:
        return draw_curves(
            frames.seeds,
            frames.means,
            frames.ends,
            arms=list(sweep.drawn_arms),
            axis=frames.axis,
            y_label=frames.y_label,
            x_label=x_label,
            width=width,
        )

    reading = READING if column == sweep.metric else "Drawn as figure A."
    title = QUANTITIES[column].title
    caption = (reading, *frames.notes)
    return ReportFigure(letter, heading, f"validation_{column}", title, caption, draw)


def curve_frames(sweep: Sweep, column: str) -> CurveFrames:
    """The points, means and notes of the validation curves of a sweep."""
    quantity = QUANTITIES[column]
    seeds = seed_curves(sweep, column)
    has_diverged = pl.col("status") == "diverged"
    bands = mean_band(seeds.filter(~has_diverged), "value")
    ends = seeds.filter(has_diverged).sort("step").group_by("run").last().sort("run")
    axis = value_axis(seeds, bands, bounds=quantity.bounds, least_span=quantity.least_span)
    thinned, was_thinned = thin(seeds, len(sweep.runs))
    means, _ = thin(bands, seeds["arm"].n_unique())
    notes = _axis_notes(quantity, axis) + _curve_notes(bands, ends, was_thinned)
    y_label = quantity.title
    if axis.low > quantity.bounds[0] or axis.hidden:
        y_label += f", axis from {axis.low:g} to {axis.high:g}"
    return CurveFrames(
        seeds=thinned.select("run", "arm", "seed", "step", "value"),
        means=means,
        ends=ends.select("run", "arm", "step", "value"),
        axis=axis,
        y_label=y_label,
        notes=tuple(notes) if len(seeds) else ("No run has been validated yet.",),
    )


def seed_curves(sweep: Sweep, column: str) -> pl.DataFrame:
    """Every validation point with a finite value: columns run, arm, seed, step, value, status."""
    schema = {"run": pl.Int64, "status": pl.String}
    statuses = pl.DataFrame(
        [(index, run.status) for index, run in enumerate(sweep.runs)], schema=schema, orient="row"
    )
    valid = sweep.curves.filter(pl.col("split") == "valid").drop_nulls(column)
    points = valid.select("run", "arm", "seed", "step", pl.col(column).alias("value"))
    return points.join(statuses, on="run").sort("run", "step")


def step_label(sweep: Sweep) -> str:
    """Label of a step axis; says how many epochs the steps are, where that is one number."""
    budgets = {(run.steps, run.epochs) for run in sweep.runs if run.steps and run.epochs}
    if len(budgets) != 1:
        return "Training steps"
    steps, epochs = budgets.pop()
    return f"Training steps ({steps:,} steps = {epochs:g} epoch{'s' * (epochs != 1)})"


def _axis_notes(quantity: Quantity, axis: ValueAxis) -> list[str]:
    if axis.hidden:
        return [
            f"The value axis runs from {axis.low:g} to {axis.high:g}: "
            f"{axis.hidden:,} evaluations outside of it are not drawn."
        ]
    if axis.low > quantity.bounds[0]:
        return [f"The value axis starts at {axis.low:g}, not at {quantity.bounds[0]:g}."]
    return []


def _curve_notes(bands: pl.DataFrame, ends: pl.DataFrame, was_thinned: bool) -> list[str]:
    notes = []
    if not len(bands.drop_nulls("low")):
        notes.append("No band is drawn, because no step has two seeds.")
    counts = bands.group_by("arm").agg(most=pl.col("n").max(), last=pl.col("n").last())
    if len(counts.filter(pl.col("last") < pl.col("most"))):
        notes.append(
            "Where a run has stopped or has not got that far, the mean is of the others: "
            "n, given beside each arm for its last step, is larger before."
        )
    if len(ends):
        notes.append(
            "Mean and band leave out the runs that diverged; a cross marks the last finite value "
            "of such a run, at the edge where it is outside the axis."
        )
    if was_thinned:
        notes.append("Drawn at evenly spaced evaluations; curves.csv has every one.")
    return notes


# -- drawing -----------------------------------------------------------------------------------


def draw_curves(
    seeds: pl.DataFrame,
    means: pl.DataFrame,
    ends: pl.DataFrame | None = None,
    *,
    arms: Sequence[str],
    axis: ValueAxis,
    y_label: str,
    x_label: str = "Training steps",
    width: float = WIDE,
) -> Figure:
    """Draws curves over training steps.

    Args:
        seeds: columns run, arm, seed, step, value: a thin line for each run.
        means: columns arm, step, n, mean, low, high: a thick line and a band for each arm.
        ends: columns run, arm, step, value: where runs diverged; each gets a cross.
        arms: the arms of the sweep, in its order, which gives each its color, dashes and marker.
        axis: range of the value axis.
        y_label: label of the value axis.
        x_label: label of the step axis.
        width: inches; above 5, the legend stands beside the axes, else below.

    Returns:
        A figure with one axes.
    """
    ends = seeds.clear() if ends is None else ends
    present = {*seeds["arm"].unique(), *means["arm"].unique()}
    styles = {arm: look for arm, look in arm_styles(arms).items() if arm in present}
    labels = _labels(means, ends, styles)
    last = max(float(seeds["step"].max() or 0), 1.0)  # type: ignore[arg-type]
    wide = is_wide(width)
    legend = legend_height(labels, width, beside=wide)
    high = max(3.4, 0.3 + legend) if wide else 2.7 + legend
    with house_style():
        figure = Figure((width, high))
        axes = figure.add_subplot()
        set_value_axis(axes, axis.low, axis.high)
        set_step_axis(axes, last, x_label, 7 if wide else 5)
        if wide:
            axes.set_ylabel(y_label.replace(", axis from", ",\naxis from"))
        else:
            figure.suptitle(y_label, x=0.02, ha="left")
        label_arms(figure, labels, styles, beside=wide)
        _draw_lines(axes, seeds, means, ends, styles)
    return figure


def _draw_lines(
    axes: Axes,
    seeds: pl.DataFrame,
    means: pl.DataFrame,
    ends: pl.DataFrame,
    styles: Mapping[str, ArmStyle],
) -> None:
    """Bands below seeds below means below crosses."""
    low, high = axes.get_ylim()
    far = 1e6 * (high - low)  # keeps a diverged 1e300 from overflowing in the renderers
    near = pl.col("value").clip(low - far, high + far)
    many = max(seeds["run"].n_unique(), 1)
    for arm, run, rows in thin_lines(seeds.with_columns(near), "run", "arm", many):
        axes.plot(
            rows["step"], rows["value"], color=styles[arm].color, linewidth=0.6 if run else 0.4,
            alpha=max(0.25, 15 / many) if many > 30 else 0.5, zorder=2.1,
            marker="." if rows["step"].n_unique() == 1 else "",
            label=f"{arm}, seed {rows['seed'][0]}" if run else "",
            gid=f"run-{run}-{styles[arm].gid}" if run else f"runs-{styles[arm].gid}",
        )  # fmt: skip
    for arm, look in styles.items():
        if not len(rows := means.filter(arm=arm)):  # every run of it diverged
            continue
        banded = rows.drop_nulls("low")
        if len(banded) == 1:  # an area of one step has no extent
            axes.vlines(
                banded["step"], banded["low"], banded["high"], color=look.color, alpha=0.25,
                linewidth=6, gid=f"band-{look.gid}",
            )  # fmt: skip
        elif len(banded):
            axes.fill_between(
                banded["step"], banded["low"], banded["high"], color=look.color, alpha=0.15,
                linewidth=0, gid=f"band-{look.gid}",
            )  # fmt: skip
        every = 1 if len(rows) <= MOST_MARKERS else len(rows) // 12
        axes.plot(
            rows["step"], rows["mean"], color=look.color, linestyle=look.linestyle,
            marker=look.marker, markevery=((len(rows) - 1) % every, every), zorder=2.2,
            gid=f"mean-{look.gid}",
        )  # fmt: skip
    for run, arm, step, value in ends.select("run", "arm", "step", "value").iter_rows():
        axes.plot(
            step, min(max(value, low), high), color=styles[arm].color, marker="x", markersize=6,
            markeredgewidth=1.6, clip_on=False, zorder=2.3, gid=f"end-{run}-{styles[arm].gid}",
        )  # fmt: skip


def _labels(
    means: pl.DataFrame, ends: pl.DataFrame, styles: Mapping[str, ArmStyle]
) -> dict[str, str]:
    """`relu, n = 4, 1 diverged` for every arm, the highest at its end first."""
    diverged = dict(ends.group_by("arm").len().rows())
    last = {arm: (n, mean) for arm, n, mean in means.select("arm", "n", "mean").iter_rows()}
    order = sorted(styles, key=lambda arm: -last[arm][1] if arm in last else math.inf)
    return {
        arm: f"{shorten(arm, LABEL_LENGTH)}, n = {last[arm][0] if arm in last else 0}"
        + (f", {diverged[arm]} diverged" if arm in diverged else "")
        for arm in order
    }
