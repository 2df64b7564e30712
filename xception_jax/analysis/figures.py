"""Decides what the report's figures show, and says in words what a reader has to know of them.

Every figure is drawn twice: wide, with labels beside the curves, for a paper and a desktop; and
narrow, with labels below, for a phone.
"""

from dataclasses import dataclass

import polars as pl

from xception_jax.analysis.axes import ValueAxis, thin, value_axis
from xception_jax.analysis.drawing import NARROW, WIDE, Content, arm_styles, draw, rasterize
from xception_jax.analysis.read import Sweep
from xception_jax.analysis.summary import mean_band


@dataclass(frozen=True)
class Metric:
    """A quantity that a figure shows over the steps."""

    column: str
    name: str
    title: str
    bounds: tuple[float, float]
    least_span: float


METRICS = (
    Metric("top1", "validation_top1", "Validation top-1 accuracy", (0.0, 1.0), 0.02),
    Metric("loss", "validation_loss", "Validation loss (cross-entropy, nats)", (0.0, 1e300), 0.02),
)


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        name: file name without suffix.
        title: what it shows, for a heading.
        notes: what a caption has to say of this figure in particular.
        svg: the wide drawing; `narrow_svg`: the one for phones.
        png: the wide drawing at twice its size.
    """

    name: str
    title: str
    notes: tuple[str, ...]
    svg: str
    narrow_svg: str
    png: bytes


def curve_figures(sweep: Sweep) -> tuple[Figure, ...]:
    """Validation top-1 and validation loss against steps, of all runs that have any."""
    return tuple(_curve_figure(sweep, metric) for metric in METRICS)


def _curve_figure(sweep: Sweep, metric: Metric) -> Figure:
    seeds = _seed_curves(sweep, metric.column)
    has_diverged = pl.col("status") == "diverged"
    bands = mean_band(seeds.filter(~has_diverged), "value")
    ends = seeds.filter(has_diverged).sort("step").group_by("run").last().sort("run")
    axis = value_axis(seeds, bands, bounds=metric.bounds, least_span=metric.least_span)
    present = set(seeds["arm"].unique())
    drawn, was_thinned = thin(seeds, len(sweep.runs))
    content = Content(
        title=metric.title,
        arms=tuple(arm for arm in sweep.arms if arm in present),
        styles=arm_styles(list(sweep.arms)),
        seeds=drawn.select("run", "arm", "step", "value"),
        means=thin(bands, len(present))[0],
        ends=ends.select("run", "arm", "step", "value"),
        axis=axis,
        is_cut=axis.low > metric.bounds[0] or axis.hidden > 0,
        step_title=_step_title(sweep),
    )
    svg = draw(content, WIDE)
    notes = _axis_notes(metric, axis) + _curve_notes(bands, ends, was_thinned)
    return Figure(
        name=metric.name,
        title=metric.title,
        notes=tuple(notes) if len(seeds) else ("No run has been validated yet.",),
        svg=svg,
        narrow_svg=draw(content, NARROW),
        png=rasterize(svg),
    )


def _seed_curves(sweep: Sweep, column: str) -> pl.DataFrame:
    """Every validation point with a finite value: columns run, arm, step, value, status."""
    statuses = pl.DataFrame(
        {"run": range(len(sweep.runs)), "status": [run.status for run in sweep.runs]},
        schema={"run": pl.Int64, "status": pl.String},
    )
    valid = sweep.curves.filter(pl.col("split") == "valid").drop_nulls(column)
    points = valid.select("run", "arm", "step", pl.col(column).alias("value"))
    return points.join(statuses, on="run").sort("run", "step")


def _step_title(sweep: Sweep) -> str:
    budgets = {(run.steps, run.epochs) for run in sweep.runs if run.steps and run.epochs}
    if len(budgets) != 1:
        return "Training steps"
    steps, epochs = budgets.pop()
    return f"Training steps ({steps:,} steps = {epochs:g} epochs)"


def _axis_notes(metric: Metric, axis: ValueAxis) -> list[str]:
    if axis.hidden:
        return [
            f"The value axis runs from {axis.low:g} to {axis.high:g}: "
            f"{axis.hidden:,} evaluations outside of it are not drawn."
        ]
    if axis.low > metric.bounds[0]:
        return [f"The value axis starts at {axis.low:g}, not at {metric.bounds[0]:g}."]
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
