"""Curves over training steps: runs thin, the mean of an arm thick, with its confidence band."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xception_jax.report.arm_styles import ArmStyle, arm_styles
from xception_jax.report.axes import ValueAxis, thin_lines
from xception_jax.report.canvas import (
    LABEL_LENGTH,
    WIDE,
    house_style,
    is_wide,
    label_arms,
    legend_height,
    set_step_axis,
    set_value_axis,
    shorten,
)
from xception_jax.report.panels import Panels, draw_by_level

MOST_MARKERS = 25
"""Means of more evaluations than this have a marker at about every twelfth of them only."""


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


def draw_curves(
    frames: CurveFrames,
    *,
    arms: Sequence[str],
    panels: Panels,
    x_label: str = "Training steps",
    width: float = WIDE,
) -> Figure:
    """Draws curves over training steps: a thin line for each run, a thick one for each arm.

    Args:
        frames: what is drawn.
        arms: the arms of the sweep, in its order, which gives each its color, dashes and marker.
        panels: as `panels_by_level` gives them.
        x_label: label of the step axis.
        width: inches; above 5, the legend of a single panel stands beside it, else below.

    Returns:
        A figure with one axes per panel, or one axes in all.
    """
    with house_style():
        if panels:
            return _draw_panels(frames, arms, panels, x_label, width)
        return _draw_together(frames, arms, x_label, width)


def _draw_together(frames: CurveFrames, arms: Sequence[str], x_label: str, width: float) -> Figure:
    present = {*frames.seeds["arm"].unique(), *frames.means["arm"].unique()}
    styles = {arm: look for arm, look in arm_styles(arms).items() if arm in present}
    labels = _labels(frames, styles)
    wide = is_wide(width)
    legend = legend_height(labels, width, beside=wide)
    figure = Figure((width, max(3.4, 0.3 + legend) if wide else 2.7 + legend))
    axes = figure.add_subplot()
    set_value_axis(axes, frames.axis.low, frames.axis.high)
    set_step_axis(axes, _last_step(frames), 7 if wide else 5)
    axes.set_xlabel(x_label)
    if wide:
        axes.set_ylabel(frames.y_label.replace(", axis from", ",\naxis from"))
    else:
        figure.suptitle(frames.y_label, x=0.02, ha="left")
    label_arms(figure, labels, styles, beside=wide)
    _draw_lines(axes, frames, styles)
    return figure


def _draw_panels(
    frames: CurveFrames, arms: Sequence[str], panels: Panels, x_label: str, width: float
) -> Figure:
    def draw(axes: Axes, styles: Mapping[str, ArmStyle]) -> None:
        set_step_axis(axes, _last_step(frames), 3 if is_wide(width) else 5)
        _draw_lines(axes, frames, styles)

    return draw_by_level(
        panels,
        arms=arms,
        draw=draw,
        below=lambda of_panel: _seeds_at_end(frames, of_panel),
        ends=(frames.axis.low, frames.axis.high),
        title=frames.y_label,
        x_label=x_label,
        width=width,
    )


def _last_step(frames: CurveFrames) -> float:
    return max(float(frames.seeds["step"].max() or 0), 1.0)  # type: ignore[arg-type]


def _seeds_at_end(frames: CurveFrames, arms: Collection[str]) -> str:
    """`n = 16 to 32, 1 diverged`: the seeds of the arms at their last steps."""
    last = dict(frames.means.select("arm", "n").iter_rows())
    seeds = [last.get(arm, 0) for arm in arms]
    count = " to ".join(map(str, dict.fromkeys((min(seeds), max(seeds)))))
    diverged = frames.ends["arm"].is_in(list(arms)).sum()
    return f"n = {count}" + f", {diverged} diverged" * (diverged > 0)


def _draw_lines(axes: Axes, frames: CurveFrames, styles: Mapping[str, ArmStyle]) -> None:
    """Bands below seeds below means below crosses, of the arms that have a style."""
    seeds, means, ends = (
        frame.filter(pl.col("arm").is_in(list(styles)))
        for frame in (frames.seeds, frames.means, frames.ends)
    )
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


def _labels(frames: CurveFrames, styles: Mapping[str, ArmStyle]) -> dict[str, str]:
    """`relu, n = 4, 1 diverged` for every arm, the highest at its end first."""
    diverged = dict(frames.ends.group_by("arm").len().rows())
    last = {arm: (n, mean) for arm, n, mean in frames.means.select("arm", "n", "mean").iter_rows()}
    order = sorted(styles, key=lambda arm: -last[arm][1] if arm in last else math.inf)
    return {
        arm: f"{shorten(arm, LABEL_LENGTH)}, n = {last[arm][0] if arm in last else 0}"
        + (f", {diverged[arm]} diverged" if arm in diverged else "")
        for arm in order
    }
