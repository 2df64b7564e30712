"""What a figure of validation curves shows: runs, means of arms, confidence bands, and notes."""

from dataclasses import dataclass

import polars as pl
from matplotlib.figure import Figure

from xception_jax.report.axes import ValueAxis, thin, value_axis
from xception_jax.report.canvas import ReportFigure
from xception_jax.report.curve_drawing import CurveFrames, draw_curves
from xception_jax.report.panels import PANELS_READING, panels_by_level
from xception_jax.statistics.descriptive import mean_band
from xception_jax.statistics.results import Sweep

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


def curve_figure(sweep: Sweep, column: str, *, letter: str, heading: str) -> ReportFigure:
    """Validation curves of all runs that have any; `column` is a key of `QUANTITIES`."""
    frames = curve_frames(sweep, column)
    x_label, panels = step_label(sweep), panels_by_level(sweep)

    def draw(width: float) -> Figure:
        arms = list(sweep.drawn_arms)
        return draw_curves(frames, arms=arms, panels=panels, x_label=x_label, width=width)

    reading = (
        READING if column == sweep.metric else "Drawn as the figure of validation over training."
    )
    title = QUANTITIES[column].title
    of_panels = (PANELS_READING,) if panels else ()
    caption = (reading, *of_panels, *frames.notes)
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
