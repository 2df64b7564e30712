"""The numbers of a report: final values, steps to a target accuracy, counts of runs by status.

All of it describes; nothing here tests a claim.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from xception_jax.records import ENDED, METRIC_NAMES, METRICS
from xception_jax.statistics.bases import parts_of
from xception_jax.statistics.descriptive import Crossing, Mean, first_crossing
from xception_jax.statistics.results import SHOWN_STATUSES, Run, Sweep
from xception_jax.statistics.runs import Runs
from xception_jax.statistics.speed import Speed


@dataclass(frozen=True)
class RunSummary:
    """One run's outcome; `valid_*` are of the last evaluation of a done run, never the best one.

    `target` is that of the run's base, a value of its headline metric.
    """

    run: Run
    last_step: int | None
    valid_step: int | None
    valid_top1: float | None
    valid_loss: float | None
    crossing: Crossing
    valid_map100: float | None = None
    target: float | None = None

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
        speed: speed of done runs, each pack counted once.
    """

    arm: str
    statuses: Counter[str]
    valid_metric: Mean
    test_metric: Mean
    crossings: Counter[str]
    steps_to_target: Mean
    parameters: tuple[int, ...]
    speed: Speed


@dataclass(frozen=True)
class Summary:
    """Everything a report says in numbers.

    Attributes:
        metric: the headline metric of most runs.
        targets: the target of each base by name; where there is one base, of "".
        runs: in the order of the sweep.
        arms: in its order.
        statuses: number of runs by status.
    """

    metric: str
    targets: Mapping[str, float | None]
    runs: tuple[RunSummary, ...]
    arms: tuple[ArmSummary, ...]
    statuses: Counter[str]

    @property
    def metric_name(self) -> str:
        """The headline metric, or every one that the bases have, as people call it."""
        metrics = {self.metric}
        if len(self.targets) > 1:
            begun = (outcome.run for outcome in self.runs if outcome.run.status != "planned")
            metrics |= {run.metric for run in begun}
        return " or ".join(METRIC_NAMES[metric] for metric in METRICS if metric in metrics)

    @property
    def target_name(self) -> str:
        """`0.8`, `0.8 (a), 0.5 (b)`, or "target" where none is known yet."""
        known = {base: target for base, target in self.targets.items() if target is not None}
        texts = [f"{target} ({base})" if base else f"{target}" for base, target in known.items()]
        return ", ".join(texts) or "target"


def summarize(sweep: Sweep) -> Summary:
    """All numbers of the report on `sweep`."""
    outcomes: dict[int, RunSummary] = {}
    targets: dict[str, float | None] = {}
    for part in parts_of(sweep):
        target = Runs(part).target
        targets[part.base.name if part.base else ""] = target
        outcomes |= {id(outcome.run): outcome for outcome in _outcomes(part, target)}
    ordered = [outcomes[id(run)] for run in sweep.runs if id(run) in outcomes]
    arms = tuple(_arm(arm, [o for o in ordered if o.run.arm == arm]) for arm in sweep.arms)
    return Summary(sweep.metric, targets, tuple(ordered), arms, count_statuses(sweep.runs))


def count_statuses(runs: Iterable[Run]) -> Counter[str]:
    """Number of runs by status, in the order of `SHOWN_STATUSES`."""
    counts = Counter(run.status for run in runs)
    return Counter({status: counts[status] for status in SHOWN_STATUSES if counts[status]})


def _outcomes(sweep: Sweep, target: float | None) -> list[RunSummary]:
    last_steps = dict(sweep.curves.group_by("run").agg(pl.col("step").max()).iter_rows())
    valid = sweep.curves.filter(pl.col("split") == "valid").sort("step")
    finals = valid.group_by("run", maintain_order=True).last()
    final_rows = {row["run"]: row for row in finals.iter_rows(named=True)}
    known = valid.drop_nulls(sweep.metric)
    curves = {key[0]: frame for key, frame in known.partition_by("run", as_dict=True).items()}
    outcomes = []
    for index, run in enumerate(sweep.runs):
        final = final_rows.get(index, {}) if run.status == "done" else {}
        curve, last_step = curves.get(index, known.clear()), last_steps.get(index)
        crossing = first_crossing(
            curve["step"].to_list(),
            curve[sweep.metric].to_list(),
            target,
            budget=(run.steps or last_step) if run.status in ENDED else None,
            has_diverged=run.status == "diverged",
        )
        outcomes.append(
            RunSummary(
                run=run,
                last_step=last_step,
                valid_step=final.get("step"),
                valid_top1=final.get("top1"),
                valid_loss=final.get("loss"),
                crossing=crossing,
                valid_map100=final.get("map100"),
                target=target,
            )
        )
    return outcomes


def _arm(arm: str, runs: list[RunSummary]) -> ArmSummary:
    done = [outcome for outcome in runs if outcome.run.status == "done"]
    ended = [outcome for outcome in runs if outcome.run.status in ENDED]
    parameters = {outcome.run.parameters for outcome in runs if outcome.run.parameters is not None}
    return ArmSummary(
        arm=arm,
        statuses=count_statuses(outcome.run for outcome in runs),
        valid_metric=Mean.of(outcome.valid_metric for outcome in done),
        test_metric=Mean.of(outcome.run.final_metric for outcome in done),
        crossings=Counter(outcome.crossing.kind for outcome in ended),
        steps_to_target=Mean.of(outcome.crossing.steps for outcome in ended),
        parameters=tuple(sorted(parameters)),
        speed=Speed.of(outcome.run for outcome in done),
    )
