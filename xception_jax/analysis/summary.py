"""The numbers of a report: bands over seeds, final values, steps to a target accuracy.

All of it describes; nothing here tests a claim. The statistics of a verdict get a module of their
own beside this one.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy.special import stdtrit

from xception_jax.analysis.read import STATUSES, Run, Sweep

CONFIDENCE = 0.95
TARGET_SHARE = 0.95
"""The target accuracy is this share of the lowest arm's mean final value."""


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
        """The mean of the values that are there."""
        known = np.array([value for value in values if value is not None], dtype=np.float64)
        return cls(
            n=known.size,
            mean=float(known.mean()) if known.size else None,
            deviation=float(known.std(ddof=1)) if known.size > 1 else None,
        )


@dataclass(frozen=True)
class Crossing:
    """When a run's headline metric on validation first reached the target.

    Attributes:
        steps: where; for `first` the step of the first evaluation, an upper bound; for
            `not_reached` the run's whole budget, a lower bound; None for `open`.
        kind: `interpolated` between two evaluations; `first`, already there at the first
            evaluation; `not_reached` by a run that ended; `open`: not yet, and the run has not
            ended by itself.
    """

    steps: float | None
    kind: str


@dataclass(frozen=True)
class RunSummary:
    """One run's outcome; `valid_*` are of the last evaluation of a done run, never the best one."""

    run: Run
    last_step: int | None
    valid_step: int | None
    valid_top1: float | None
    valid_loss: float | None
    crossing: Crossing
    valid_map100: float | None = None

    @property
    def valid_metric(self) -> float | None:
        """The headline metric of the run's task."""
        return self.valid_map100 if self.run.metric == "map100" else self.valid_top1


@dataclass(frozen=True)
class ArmSummary:
    """One arm's row of the table.

    Attributes:
        statuses: number of runs by status, only those that occur.
        valid_metric, test_metric: the headline metric, over done runs.
        crossings: number of runs by kind of `Crossing`.
        steps_to_target: over runs that ended; a run that did not reach the target enters with its
            whole budget, even if it diverged early, so that the mean is then a lower bound.
        parameters: trainable parameters, every value that occurs.
    """

    arm: str
    statuses: Counter[str]
    valid_metric: Mean
    test_metric: Mean
    crossings: Counter[str]
    steps_to_target: Mean
    parameters: tuple[int, ...]
    images_per_second: Mean

    @property
    def planned(self) -> int:
        """All runs of the arm."""
        return self.statuses.total()


@dataclass(frozen=True)
class Summary:
    """Everything a report says in numbers; `target` is a value of `metric`, the headline metric."""

    metric: str
    target: float | None
    runs: tuple[RunSummary, ...]
    arms: tuple[ArmSummary, ...]
    statuses: Counter[str]


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


def target_accuracy(finals: Iterable[Mean]) -> float | None:
    """The target of "steps to": 95% of the lowest arm mean, rounded down to two decimals.

    The rule looks at all arms alike, and every arm reaches the target on average.

    Args:
        finals: per arm, the final headline metric over its done runs.

    Returns:
        None when no arm has a done run, or the target would be zero.
    """
    means = [final.mean for final in finals if final.mean is not None]
    if not means:
        return None
    # The inner rounding keeps 0.95 * 0.8 = 0.7599999… at 0.76.
    target = math.floor(round(100 * TARGET_SHARE * min(means), 6)) / 100
    return target or None


def first_crossing(
    steps: Sequence[int], values: Sequence[float], target: float | None, *, budget: int | None
) -> Crossing:
    """When a validation curve first reaches `target`, linear between evaluations.

    Args:
        steps: steps of the evaluations, increasing.
        values: finite, at these steps.
        target: None when there is no target yet.
        budget: planned steps of a run that ended by itself, done or diverged; None for one
            that has not, and may yet reach the target.
    """
    if target is None:
        return Crossing(None, "open")
    at = next((index for index, value in enumerate(values) if value >= target), None)
    if at == 0:
        return Crossing(float(steps[0]), "first")
    if at is not None:
        share = (target - values[at - 1]) / (values[at] - values[at - 1])
        return Crossing(steps[at - 1] + share * (steps[at] - steps[at - 1]), "interpolated")
    if budget is not None:
        return Crossing(float(budget), "not_reached")
    return Crossing(None, "open")


def summarize(sweep: Sweep) -> Summary:
    """All numbers of the report on `sweep`."""
    outcomes = _outcomes(sweep)
    finals = [
        Mean.of(outcome.valid_metric for outcome in outcomes if outcome.run.arm == arm)
        for arm in sweep.arms
    ]
    target = target_accuracy(finals)
    runs = _with_crossings(sweep, outcomes, target)
    arms = tuple(_arm(arm, [each for each in runs if each.run.arm == arm]) for arm in sweep.arms)
    return Summary(sweep.metric, target, runs, arms, count_statuses(sweep.runs))


def count_statuses(runs: Iterable[Run]) -> Counter[str]:
    """Number of runs by status, in the order of `STATUSES`."""
    counts = Counter(run.status for run in runs)
    return Counter({status: counts[status] for status in STATUSES if counts[status]})


def _outcomes(sweep: Sweep) -> list[RunSummary]:
    last_steps = dict(sweep.curves.group_by("run").agg(pl.col("step").max()).iter_rows())
    valid = sweep.curves.filter(pl.col("split") == "valid").sort("step")
    finals = valid.group_by("run", maintain_order=True).last()
    final_rows = {row["run"]: row for row in finals.iter_rows(named=True)}
    outcomes = []
    for index, run in enumerate(sweep.runs):
        final = final_rows.get(index, {}) if run.status == "done" else {}
        outcomes.append(
            RunSummary(
                run=run,
                last_step=last_steps.get(index),
                valid_step=final.get("step"),
                valid_top1=final.get("top1"),
                valid_loss=final.get("loss"),
                crossing=Crossing(None, "open"),
                valid_map100=final.get("map100"),
            )
        )
    return outcomes


def _with_crossings(
    sweep: Sweep, outcomes: list[RunSummary], target: float | None
) -> tuple[RunSummary, ...]:
    valid = sweep.curves.filter(pl.col("split") == "valid").drop_nulls(sweep.metric).sort("step")
    curves = {key[0]: frame for key, frame in valid.partition_by("run", as_dict=True).items()}
    runs = []
    for index, outcome in enumerate(outcomes):
        curve = curves.get(index, valid.clear())
        has_ended = outcome.run.status in ("done", "diverged")
        crossing = first_crossing(
            curve["step"].to_list(),
            curve[sweep.metric].to_list(),
            target,
            budget=(outcome.run.steps or outcome.last_step) if has_ended else None,
        )
        runs.append(replace(outcome, crossing=crossing))
    return tuple(runs)


def _arm(arm: str, runs: list[RunSummary]) -> ArmSummary:
    done = [each for each in runs if each.run.status == "done"]
    ended = [each for each in runs if each.run.status in ("done", "diverged")]
    parameters = {each.run.parameters for each in runs if each.run.parameters is not None}
    return ArmSummary(
        arm=arm,
        statuses=count_statuses(each.run for each in runs),
        valid_metric=Mean.of(each.valid_metric for each in done),
        test_metric=Mean.of(each.run.test_metric for each in done),
        crossings=Counter(each.crossing.kind for each in ended),
        steps_to_target=Mean.of(each.crossing.steps for each in ended),
        parameters=tuple(sorted(parameters)),
        images_per_second=Mean.of(each.run.images_per_second for each in done),
    )
