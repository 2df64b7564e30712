"""Where things go in a figure: the range of the value axis, thinned curves, label positions."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

LATE = 0.25
"""The value axis shows all that happens after this share of the steps."""

POINTS_A_FIGURE = 9_000


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


def clip_lines(lines: pl.DataFrame, low: float, high: float) -> pl.DataFrame:
    """Cuts lines where they leave the range, as a clipping rectangle would.

    Clipping the numbers keeps the drawing small, and a renderer spends most of its time on clip
    paths, of which it would need one a line.

    Args:
        lines: columns line (text), step, value and any others that are constant along a line.
        low: lower end of the range.
        high: upper end of the range.

    Returns:
        The parts inside the range; column line differs between parts.
    """
    crossed = _with_crossings(lines, ("value",), (low, high))
    outside = ~pl.col("value").is_between(low, high)
    part = outside.cum_sum().over("line").cast(pl.String)
    return crossed.with_columns(line=pl.col("line") + " " + part).filter(~outside)


def clip_bands(bands: pl.DataFrame, low: float, high: float) -> pl.DataFrame:
    """Cuts bands to the range; what lies outside becomes a band of no height on the edge.

    Args:
        bands: columns line (text), step, low, high and any others constant along a line.
        low: lower end of the range.
        high: upper end of the range.
    """
    crossed = _with_crossings(bands, ("low", "high"), (low, high))
    return crossed.with_columns(pl.col("low", "high").clip(low, high))


def _with_crossings(
    lines: pl.DataFrame, columns: Sequence[str], levels: tuple[float, float]
) -> pl.DataFrame:
    """Adds a row to every line wherever one of its columns crosses a level between two rows."""
    far = 1e6 * (levels[1] - levels[0])  # keeps a diverged 1e300 from overflowing below
    rows = lines.with_columns(
        pl.col("step").cast(pl.Float64), pl.col(*columns).clip(levels[0] - far, levels[1] + far)
    ).sort("line", "step")
    following = rows.shift(-1)
    found = [rows]
    for column in columns:
        for level in levels:
            before, after = rows[column] - level, following[column] - level
            crosses = ((rows["line"] == following["line"]) & (before * after < 0)).fill_null(False)
            start, end = rows.filter(crosses), following.filter(crosses)
            share = (level - start[column]) / (end[column] - start[column])
            moved = [start[name] + share * (end[name] - start[name]) for name in ("step", *columns)]
            found.append(start.with_columns(moved).with_columns(pl.lit(level).alias(column)))
    return pl.concat(found).sort("line", "step", maintain_order=True)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values from `low` to `high`, about as many as asked for."""
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def format_tick(values: Sequence[float]) -> list[str]:
    """Ticks in words: all with as many decimals as tell them apart, thousands and millions short.

    A minus sign is a minus sign.
    """
    largest = max(map(abs, values), default=0.0)
    unit, word = next(
        (pair for pair in ((1e9, "G"), (1e6, "M"), (1e4, "k")) if largest >= pair[0]), (1.0, "")
    )
    unit = 1e3 if word == "k" else unit
    apart = min((b - a for a, b in itertools.pairwise(values)), default=1.0) / unit
    decimals = next((n for n in range(9) if abs(apart * 10**n - round(apart * 10**n)) < 1e-6), 9)
    return [
        (f"{value / unit:,.{decimals}f}{word if value else ''}").replace("-", "−")
        for value in values
    ]


def spread_labels(wanted: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Moves labels apart, as little as the order allows.

    Args:
        wanted: where each label would be best, in pixels.
        gap: least distance between two labels; less where they would not fit otherwise.
        low: least position.
        high: greatest position.

    Returns:
        One position per label, in the order given.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = [min(max(wanted[index], low), high) for index in order]
    for index in range(1, len(placed)):
        placed[index] = max(placed[index], placed[index - 1] + gap)
    placed[-1] = min(placed[-1], high)
    for index in range(len(placed) - 2, -1, -1):
        placed[index] = min(placed[index], placed[index + 1] - gap)
    positions = [0.0] * len(wanted)
    for index, position in zip(order, placed, strict=True):
        positions[index] = position
    return positions
