"""What an arm costs, against what it reaches on the test split."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xception_jax.report.arm_styles import ArmStyle, arm_styles
from xception_jax.report.axes import ValueAxis, value_axis
from xception_jax.report.canvas import (
    LABEL_LENGTH,
    ReportFigure,
    house_style,
    is_wide,
    label_arms,
    legend_height,
    set_count_ticks,
    shorten,
    value_panels,
)
from xception_jax.statistics.paired import t_interval
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.speed import measurements

COSTS = {
    "parameters": "Parameters",
    "macs": "Multiply-adds per image",
    "images_per_second": "Training speed (images/s)",
}
OUTCOMES = {"top1": "Test top-1 accuracy", "map100": "Test MAP@100"}
READING = (
    "Small: one run. Large: the mean of an arm’s done runs, with its 95% interval. Speed is what a "
    "run measured while it trained, a pack once for all of its runs; what else the machine did is "
    "not known."
)


def cost_figure(sweep: Sweep) -> ReportFigure | None:
    """One panel per cost that differs between done runs; None where no cost does."""
    runs = cost_frame(sweep)
    spread = dict(runs.group_by("cost").agg(pl.col("spent").n_unique()).iter_rows())
    shown = [cost for cost in COSTS if spread.get(cost, 0) > 1]
    if not shown:
        return None
    outcome = OUTCOMES[sweep.metric]
    means = mean_outcomes(runs)

    def draw(width: float) -> Figure:
        arms = list(sweep.drawn_arms)
        return draw_costs(runs, means, costs=shown, arms=arms, outcome=outcome, width=width)

    same = [COSTS[cost].lower() for cost in COSTS if spread.get(cost) == 1]
    note = [f"Not drawn, because every run has the same: {', '.join(same)}."] if same else []
    caption = (READING, *note)
    return ReportFigure("D", "Cost", "cost", f"{outcome} against cost", caption, draw)


def cost_frame(sweep: Sweep) -> pl.DataFrame:
    """Every done run's costs and outcome: columns arm, seed, measurement, cost, spent, outcome.

    Runs of one pack have the same measurement; it is null where no speed was recorded.
    """
    measured = measurements(sweep.runs)
    rows = [
        (run.arm, run.seed, number, cost, float(spent), run.final_metric)
        for cost in COSTS
        for run, number in zip(sweep.runs, measured, strict=True)
        if run.status == "done"
        and run.final_metric is not None
        and (spent := getattr(run, cost)) is not None
    ]
    schema: dict[str, Any] = {"arm": pl.String, "seed": pl.Int64, "measurement": pl.Int64}
    schema |= {"cost": pl.String}
    schema |= {"spent": pl.Float64, "outcome": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def mean_outcomes(runs: pl.DataFrame) -> pl.DataFrame:
    """Means over an arm's runs: columns arm, cost, spent, outcome, low, high (null for one run).

    `spent` is the mean over measurements, in which the runs of a pack count once.
    """
    rows = []
    for (arm, cost), group in runs.group_by("arm", "cost", maintain_order=True):
        values = group["outcome"].to_numpy()
        low, high = t_interval(values) if len(values) > 1 else (None, None)
        spent = group.group_by("measurement").agg(pl.col("spent").mean())["spent"].mean()
        rows.append((arm, cost, spent, float(np.mean(values)), low, high))
    schema: dict[str, Any] = {"arm": pl.String, "cost": pl.String}
    schema |= dict.fromkeys(("spent", "outcome", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")


def draw_costs(
    runs: pl.DataFrame,
    means: pl.DataFrame,
    *,
    costs: Sequence[str],
    arms: Sequence[str],
    outcome: str,
    width: float,
) -> Figure:
    """Draws the outcome against each cost, one panel per cost.

    Args:
        runs: as `cost_frame` makes it: a small mark for each run.
        means: columns arm, cost, spent, outcome, low, high: a large mark with its interval.
        costs: which of `COSTS` to draw, a panel each.
        arms: the arms of the sweep, in its order, which gives each its color and marker.
        outcome: label of the vertical axes.
        width: inches; above 5, panels stand beside each other.

    Returns:
        A figure with one axes per cost, in their order.
    """
    present = set(means["arm"])
    styles = {arm: look for arm, look in arm_styles(arms).items() if arm in present}
    labels = {arm: shorten(arm, LABEL_LENGTH) for arm in styles}
    axis = _axis(runs, means)
    panels_height = 2.7 if is_wide(width) else 0.2 + 2.1 * len(costs)
    height = panels_height + legend_height(labels, width, beside=False)
    ends = (axis.low, axis.high)
    with house_style():
        figure, panels = value_panels(
            len(costs), label=outcome, ends=ends, width=width, height=height
        )
        for cost, axes in zip(costs, panels, strict=True):
            axes.set_xlabel(COSTS[cost])
            for arm, look in styles.items():
                _draw_arm(axes, runs.filter(arm=arm, cost=cost), means, look)
            axes.margins(x=0.1)
            set_count_ticks(axes, 4)
        label_arms(figure, labels, styles, beside=False)
    return figure


def _axis(runs: pl.DataFrame, means: pl.DataFrame) -> ValueAxis:
    points = runs.select(step=pl.lit(1), value="outcome", status=pl.lit("done"))
    bands = means.select(step=pl.lit(1), low="low", high="high")
    return value_axis(points, bands, bounds=(0.0, 1.0), least_span=0.01)


def _draw_arm(axes: Axes, runs: pl.DataFrame, means: pl.DataFrame, look: ArmStyle) -> None:
    if not len(runs):
        return
    mean = means.filter(arm=runs["arm"][0], cost=runs["cost"][0])
    name = f"{runs['cost'][0]}-{look.gid}"
    axes.plot(
        runs["spent"], runs["outcome"], color=look.color, linestyle="", marker="o", markersize=3,
        alpha=min(0.5, max(0.2, 10 / len(runs))), gid=f"runs-{name}",
    )  # fmt: skip
    interval = mean.drop_nulls("low")
    axes.vlines(
        interval["spent"], interval["low"], interval["high"], color=look.color, linewidth=1.2,
        gid=f"interval-{name}",
    )  # fmt: skip
    axes.plot(
        mean["spent"], mean["outcome"], color=look.color, linestyle="", marker=look.marker,
        markersize=6.5, gid=f"mean-{name}",
    )  # fmt: skip
