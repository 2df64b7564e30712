"""Descriptive statistics of runs: means, bands of means, and when a curve reaches a target.

All of it describes; nothing here tests a claim.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import stdtrit

from xception_jax.statistics.paired import CONFIDENCE


@dataclass(frozen=True)
class Mean:
    """A mean over runs.

    Attributes:
        mean: None when no run has the value.
        deviation: sample standard deviation (n - 1); None below two runs.
    """

    n: int
    mean: float | None
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Mean":
        """The mean of the values that are not None."""
        known = np.array([value for value in values if value is not None], dtype=np.float64)
        return cls(
            n=known.size,
            mean=float(known.mean()) if known.size else None,
            deviation=float(known.std(ddof=1)) if known.size > 1 else None,
        )


@dataclass(frozen=True)
class Crossing:
    """The step at which a run's headline metric on validation first reached the target.

    Attributes:
        steps: where; for `first` the step of the first evaluation, an upper bound; for
            `not_reached` the run's whole budget, a lower bound; None for `open`.
        kind: `interpolated` between two evaluations; `first`, already there at the first
            evaluation; `not_reached` by a run that ended; `open`: not yet, and the run has not
            ended by itself.
    """

    steps: float | None
    kind: str


def mean_band(curves: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Mean of `metric` over the runs of an arm at each step, and the 95% interval of that mean.

    Args:
        curves: rows of one split, with columns arm, step and `metric`.
        metric: name of the column; null where a run has no finite value.

    Returns:
        Columns arm, step, n, mean, low, high, sorted. The interval is Student's t over n runs;
        low and high are null below two runs.
    """
    by_step = curves.drop_nulls(metric).group_by("arm", "step")
    frame = by_step.agg(
        pl.len().cast(pl.Int64).alias("n"),
        pl.col(metric).mean().alias("mean"),
        pl.col(metric).std(ddof=1).alias("deviation"),
    ).sort("arm", "step")
    n = frame["n"].to_numpy().astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        quantile = stdtrit(np.where(n > 1, n - 1, np.nan), (1 + CONFIDENCE) / 2)
        factor = pl.Series("factor", quantile / np.sqrt(n)).fill_nan(None)
    half = pl.col("deviation") * factor
    return frame.with_columns(low=pl.col("mean") - half, high=pl.col("mean") + half).select(
        "arm", "step", "n", "mean", "low", "high"
    )


def first_crossing(
    steps: Sequence[float],
    values: Sequence[float],
    target: float | None,
    *,
    budget: int | None,
    has_diverged: bool = False,
) -> Crossing:
    """The step at which a validation curve first reaches `target`, linear between evaluations.

    Args:
        steps: steps of the evaluations, increasing.
        values: finite, at these steps.
        target: None when there is no target yet.
        budget: planned steps of a run that ended by itself, done or diverged; None for one
            that has not, and may yet reach the target.
        has_diverged: whether the run diverged: what it reached before that, it did not keep.
    """
    if target is None:
        return Crossing(None, "open")
    reached = (index for index, value in enumerate(values) if value >= target)
    at = None if has_diverged else next(reached, None)
    if at == 0:
        return Crossing(float(steps[0]), "first")
    if at is not None:
        share = (target - values[at - 1]) / (values[at] - values[at - 1])
        return Crossing(steps[at - 1] + share * (steps[at] - steps[at - 1]), "interpolated")
    if budget is not None:
        return Crossing(float(budget), "not_reached")
    return Crossing(None, "open")
