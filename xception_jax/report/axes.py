"""What of the data a figure shows: the range of its value axis, and evenly spaced points."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

LATE = 0.25
"""The value axis shows all that happens after this share of the steps."""

POINTS_A_FIGURE = 9_000

MOST_LINES = 60
"""A figure of more thin lines draws those of an arm as one, with gaps: several times as fast."""


@dataclass(frozen=True)
class ValueAxis:
    """The range of a value axis.

    Attributes:
        hidden: number of evaluations that lie outside the range, and are not drawn.
    """

    low: float
    high: float
    hidden: int


def value_axis(
    curves: pl.DataFrame,
    bands: pl.DataFrame,
    *,
    bounds: tuple[float, float],
    least_span: float,
) -> ValueAxis:
    """Zooms to what the curves do after the first quarter of the steps.

    Curves start far from where they end; an axis that holds all of it shows no difference between
    arms. Diverged runs do not stretch the axis: they are drawn as far as they fit.

    Args:
        curves: columns step, value, status; finite values only.
        bands: columns step, low, high (null where there is no band).
        bounds: values the quantity cannot leave.
        least_span: the axis covers at least this much, so that noise does not look like more.
    """
    steady = curves.filter(pl.col("status") != "diverged")
    shown = _late(steady if len(steady) else curves)["value"]
    if not len(shown):
        low = bounds[0]
        return ValueAxis(low, min(bounds[1], low + 1), 0)
    low, high = float(shown.min()), float(shown.max())  # type: ignore[arg-type]
    least_span = max(least_span, 1e-6 * max(abs(low), abs(high)))  # or large ends are the same
    # Wide bands (two seeds: 12.7 standard errors) may double the axis, and no more.
    span = max(high - low, least_span)
    band = _late(bands.drop_nulls("low"))
    if len(band):
        low = max(min(low, float(band["low"].min())), low - span)  # type: ignore[arg-type]
        high = min(max(high, float(band["high"].max())), high + span)  # type: ignore[arg-type]
    missing = max(0.0, least_span - (high - low)) / 2
    pad = 0.03 * (high - low) + missing
    tick = _tick(high - low + 2 * pad)
    low = max(bounds[0], math.floor((low - pad) / tick) * tick)
    high = min(bounds[1], math.ceil((high + pad) / tick) * tick)
    if low - bounds[0] <= 0.25 * (high - low):
        low = bounds[0]  # nearly there: an axis from zero needs no explanation
    outside = curves.filter(~pl.col("value").is_between(low, high))
    return ValueAxis(round(low, 9), round(high, 9), len(outside))


def _late(frame: pl.DataFrame) -> pl.DataFrame:
    late = frame.filter(pl.col("step") >= LATE * pl.col("step").max())
    return late if len(late) else frame


def _tick(span: float) -> float:
    """A round distance (1, 2 or 5 times a power of ten) that fits about ten times into `span`."""
    power = 10.0 ** math.floor(math.log10(span / 10))
    return next(factor * power for factor in (1, 2, 5, 10) if 10 * factor * power >= span)


def thin(curves: pl.DataFrame, lines: int) -> tuple[pl.DataFrame, bool]:
    """Keeps evenly spaced steps of every arm, so that a figure of many runs stays small.

    Args:
        curves: columns arm, step and any others.
        lines: number of curves that share the figure.

    Returns:
        The rows at the steps that are kept, the first and the last of each arm among them, and
        whether any were left out.
    """
    most = int(np.clip(POINTS_A_FIGURE // max(lines, 1), 30, 150))
    kept = []
    for (arm,), rows in curves.partition_by("arm", as_dict=True, include_key=True).items():
        steps = rows["step"].unique().sort()
        at = np.unique(np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int))
        kept.append(pl.DataFrame({"arm": pl.Series([arm] * len(at)), "step": steps.gather(at)}))
    if not kept:
        return curves, False
    thinned = curves.join(pl.concat(kept), on=["arm", "step"], how="semi", maintain_order="left")
    return thinned, len(thinned) < len(curves)


def thin_lines(
    curves: pl.DataFrame, line: str, group: str, lines: int
) -> Iterator[tuple[str, str | None, pl.DataFrame]]:
    """The thin lines of a figure, one by one if there are few, else a group of them as one.

    Args:
        curves: columns step, value, and those named here.
        line: column that tells lines apart.
        group: column of what lines belong to.
        lines: number of thin lines in the figure.

    Yields:
        The group, the line (None: all of the group) and its rows; null values are gaps.
    """
    if lines <= MOST_LINES:
        for (member, key), rows in curves.group_by(group, line, maintain_order=True):
            yield str(member), str(key), rows
        return
    ends = curves.group_by(line, maintain_order=True).last().select(curves.columns)
    gaps = ends.with_columns(value=pl.lit(None, pl.Float64))
    for (member,), rows in pl.concat([curves, gaps]).group_by(group, maintain_order=True):
        yield str(member), None, rows.sort(line, maintain_order=True)
