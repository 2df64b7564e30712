"""The paired difference of every contrast over training, with a simultaneous band."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from textwrap import fill

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xception_jax.report.arm_styles import arm_styles
from xception_jax.report.axes import ValueAxis, thin_lines, value_axis
from xception_jax.report.canvas import (
    BOLD_CHARACTER,
    ReportFigure,
    headed_panels,
    house_style,
    is_wide,
    set_step_axis,
    shorten,
    zero_line,
)
from xception_jax.report.curves import QUANTITIES, seed_curves, step_label
from xception_jax.statistics.bands import Band, simultaneous_band
from xception_jax.statistics.contrasts import Contrast, contrasts, paired_runs
from xception_jax.statistics.paired import CONFIDENCE
from xception_jax.statistics.results import Sweep

Curve = tuple[Int[np.ndarray, " steps"], Float[np.ndarray, " steps"]]
MOST_STEPS = 60
LEAST_SPAN = 0.01
NAME_LENGTHS = 66
READING = (
    "Each thin line: one seed, arm minus baseline on the same seed. Thick: the mean. Band: "
    f"{CONFIDENCE:.0%} simultaneous max-t band (Gaussian multiplier bootstrap over seeds), which "
    "holds over all the steps of a panel at once, for the mean over the seeds whose runs are all "
    "done. Bands are not adjusted for their number, and decide nothing: that is what verdicts are "
    "for."
)


@dataclass(frozen=True)
class ContrastCurves:
    """A contrast of the runs of each seed over training.

    Attributes:
        contrast: weights over the arms.
        steps: evaluations that every pair has; at most `MOST_STEPS` of them.
        differences: one row per seed.
        seeds: seeds of the rows.
        diverged: number of pairs left out because one of the two runs diverged.
        band: around the mean of the differences.
    """

    contrast: Contrast
    steps: Float[np.ndarray, " steps"]
    differences: Float[np.ndarray, "seeds steps"]
    seeds: tuple[int, ...]
    diverged: int
    band: Band


def difference_figure(sweep: Sweep) -> ReportFigure | None:
    """One panel per contrast; None where no contrast has two pairs of finished runs."""
    measured, wanted = measured_contrasts(sweep)
    if not measured:
        return None
    differences, bands = difference_frames(measured)
    axis = _axis(bands)
    title = QUANTITIES[sweep.metric].title
    title = f"Paired difference in {title[0].lower()}{title[1:]}"
    x_label = step_label(sweep)

    def draw(width: float) -> Figure:
        return draw_differences(
            differences,
            bands,
            contrasts=[curves.contrast for curves in measured],
            arms=list(sweep.drawn_arms),
            axis=axis,
            title=title,
            x_label=x_label,
            width=width,
        )

    notes = _notes(measured, wanted, axis)
    if any(contrast.scores for contrast in contrasts(sweep)):
        notes.append(
            "Trends over declared scores are not drawn: they share no axis with differences."
        )
    caption = (READING, *notes)
    return ReportFigure("B", "Paired difference", "paired_difference", title, caption, draw)


def measured_contrasts(sweep: Sweep) -> tuple[list[ContrastCurves], int]:
    """The contrasts with two pairs of finished runs or more, and the number of all contrasts.

    Slopes over declared scores are none of them: they share no axis with differences.
    """
    curves = seed_curves(sweep, sweep.metric).filter(pl.col("status") == "done")
    runs = {
        key[0]: (rows["step"].to_numpy(), rows["value"].to_numpy())
        for key, rows in curves.partition_by("run", as_dict=True).items()
    }
    wanted = [contrast for contrast in contrasts(sweep) if not contrast.scores]
    measured = (_curves(sweep, contrast, runs) for contrast in wanted)
    return [curves for curves in measured if curves], len(wanted)


def _curves(
    sweep: Sweep, contrast: Contrast, runs: Mapping[object, Curve]
) -> ContrastCurves | None:
    groups = list(paired_runs(sweep, contrast.arms))
    known = [group for group in groups if all(run in runs for run in group)]
    if len(known) < 2:
        return None
    at_steps = [runs[run][0] for group in known for run in group]
    shared = reduce(_common, at_steps)
    if not len(shared):
        return None
    steps = shared[np.unique(np.linspace(0, len(shared) - 1, MOST_STEPS).round().astype(int))]

    def values(run: int) -> Float[np.ndarray, " steps"]:
        at, reached = runs[run]
        return reached[np.searchsorted(at, steps)]

    differences = np.stack([contrast.of(np.stack([*map(values, group)])) for group in known])
    seeds = tuple(sweep.runs[group[0]].seed or 0 for group in known)
    diverged = sum(any(sweep.runs[run].status == "diverged" for run in g) for g in groups)
    band = simultaneous_band(differences)
    return ContrastCurves(contrast, steps.astype(np.float64), differences, seeds, diverged, band)


def _common(
    one: Int[np.ndarray, " some"], other: Int[np.ndarray, " others"]
) -> Int[np.ndarray, " both"]:
    """The steps in both; as a rule the two are the same, which is quick to see."""
    return one if np.array_equal(one, other) else np.intersect1d(one, other, assume_unique=True)


def difference_frames(measured: Sequence[ContrastCurves]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two frames: contrast, seed, step, value of every seed; contrast, step, mean, low, high.

    Contrasts are numbered from 0: two may have one name.
    """
    seeds = [
        {"contrast": number, "seed": seed, "step": curves.steps, "value": row}
        for number, curves in enumerate(measured)
        for seed, row in zip(curves.seeds, curves.differences, strict=True)
    ]
    bands = [
        {"contrast": number, "step": curves.steps, "mean": curves.band.mean}
        | {"low": curves.band.low, "high": curves.band.high}
        for number, curves in enumerate(measured)
    ]
    return (
        pl.DataFrame(seeds).explode("step", "value"),
        pl.DataFrame(bands).explode("step", "mean", "low", "high"),
    )


def _axis(bands: pl.DataFrame) -> ValueAxis:
    """One range for all panels, so that they compare; zero is always in it."""
    points = bands.select("step", value="mean", status=pl.lit("done"))
    zero = points.head(1).with_columns(step=pl.lit(points["step"].max()), value=pl.lit(0.0))
    edges = bands.select("step", "low", "high")
    curves = pl.concat([points, zero])
    return value_axis(curves, edges, bounds=(-1e300, 1e300), least_span=LEAST_SPAN)


def _notes(measured: list[ContrastCurves], contrasts: int, axis: ValueAxis) -> list[str]:
    notes = []
    if axis.hidden:
        notes.append(
            f"The axis runs from {axis.low:g} to {axis.high:g}; {axis.hidden:,} means lie outside."
        )
    if diverged := sum(curves.diverged for curves in measured):
        pairs = "1 pair" if diverged == 1 else f"{diverged} pairs"
        verb = "has" if diverged == 1 else "have"
        notes.append(f"{pairs} with a diverged run {verb} no difference to draw.")
    if missing := contrasts - len(measured):
        names = "1 contrast has" if missing == 1 else f"{missing} contrasts have"
        notes.append(f"{names} fewer than two pairs of finished runs, or no step in common.")
    if min(len(curves.seeds) for curves in measured) < 5:
        notes.append(
            "With fewer than 5 pairs a band covers less than it says: 88% with 3, where simulated."
        )
    return notes


# -- drawing -----------------------------------------------------------------------------------


def draw_differences(
    differences: pl.DataFrame,
    bands: pl.DataFrame,
    *,
    contrasts: Sequence[Contrast],
    arms: Sequence[str],
    axis: ValueAxis,
    title: str,
    x_label: str,
    width: float,
) -> Figure:
    """Draws one panel per contrast, all with the same axes.

    Args:
        differences: columns contrast, seed, step, value: a thin line for each seed.
        bands: columns contrast, step, mean, low, high: a thick line and a band.
        contrasts: by their numbers in the frames; the color is that of the first arm.
        arms: the arms of the sweep, in its order, which gives each its color.
        axis: range of the value axes.
        title: what the panels show.
        x_label: label of the step axes.
        width: inches; above 5, panels stand beside each other.

    Returns:
        A figure with one axes per contrast, in their order.
    """
    most = 1 if not is_wide(width) else 2 if len(contrasts) <= 4 else 3
    columns = min(most, len(contrasts))
    rows = -(-len(contrasts) // columns)
    counts = dict(differences.group_by("contrast").agg(pl.col("seed").n_unique()).iter_rows())
    styles = arm_styles(arms)
    headings = [
        _heading(contrast, counts[number], (width - 0.6) / columns)
        for number, contrast in enumerate(contrasts)
    ]
    high = (1.65 if columns == 3 else 1.95) + 0.13 * max(h.count("\n") + 1 for h in headings)
    last = max(float(bands["step"].max() or 0), 1.0)  # type: ignore[arg-type]
    with house_style():
        figure, panels = headed_panels(
            headings,
            columns=columns,
            ends=(axis.low, axis.high),
            title=title,
            x_label=x_label,
            size=(width, 0.5 + rows * high),
        )
        for index, (contrast, axes) in enumerate(zip(contrasts, panels, strict=True)):
            set_step_axis(axes, last, 5)
            axes.set_gid(f"panel-{index}-" + "-".join(styles[arm].gid for arm in contrast.arms))
            shown = bands.filter(contrast=index)
            seeds = differences.filter(contrast=index)
            _draw_panel(axes, seeds, shown, styles[contrast.arms[0]].color, sum(counts.values()))
    return figure


def _heading(contrast: Contrast, pairs: int, width: float) -> str:
    """`relu − none, 3 pairs`, over several lines where it does not fit into so many inches."""
    name = contrast.abbreviated(shorten, NAME_LENGTHS) + contrast.where
    most = int(width / BOLD_CHARACTER)
    words = [shorten(word, most) for word in f"{name}, {pairs}\u00a0pairs".split(" ")]
    return fill(" ".join(words), most, break_long_words=False, break_on_hyphens=False)


def _draw_panel(
    axes: Axes, seeds: pl.DataFrame, band: pl.DataFrame, color: str, lines: int
) -> None:
    """Band, seeds and mean over the line of no difference."""
    panel = axes.get_gid()
    if len(band) == 1:
        axes.vlines(band["step"], band["low"], band["high"], color=color, alpha=0.25, linewidth=6)
    axes.fill_between(
        band["step"], band["low"], band["high"], color=color, alpha=0.16, linewidth=0,
        gid=f"band-{panel}",
    )  # fmt: skip
    zero_line(axes)
    for _, seed, rows in thin_lines(seeds, "seed", "contrast", lines):
        axes.plot(
            rows["step"], rows["value"], color=color, linewidth=0.5, alpha=0.5,
            label=f"seed {seed}" if seed else "",
            gid=f"seed-{seed}-{panel}" if seed else f"seeds-{panel}",
        )  # fmt: skip
    axes.plot(
        band["step"], band["mean"], color=color, marker="o" if len(band) == 1 else "",
        gid=f"mean-{panel}",
    )  # fmt: skip
