"""Numbers against SciPy and NumPy, and the rules for targets and crossings."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats

from tests.synthetic_sweep import STEPS, SweepWriter, saturating
from tests.synthetic_verdicts import ENDPOINT, verdicts_on
from xception_jax.report.claim_tables import describe_improvement, endpoint_table, verdict_table
from xception_jax.report.reading import read_directory
from xception_jax.report.summary import summarize
from xception_jax.report.tables import arm_table, describe_scope, describe_spread
from xception_jax.statistics.descriptive import Crossing, Mean, first_crossing, mean_band


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_band_is_the_t_interval_of_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(0.8, 0.01, size=n)
    curves = pl.DataFrame({"arm": ["a"] * n, "step": [10] * n, "top1": values})
    row = mean_band(curves, "top1").row(0, named=True)
    low, high = scipy.stats.t.interval(0.95, n - 1, np.mean(values), scipy.stats.sem(values))
    assert row["n"] == n
    # The two t quantiles come from different code and agree to about twelve digits.
    np.testing.assert_allclose(
        [row["mean"], row["low"], row["high"]], [np.mean(values), low, high], rtol=1e-10
    )


def test_band_needs_two_runs_with_a_finite_value_at_the_step() -> None:
    curves = pl.DataFrame(
        {"arm": ["a", "a", "a", "b"], "step": [1, 1, 2, 1], "top1": [0.5, None, 0.6, 0.7]}
    )
    band = mean_band(curves, "top1")
    assert band["n"].to_list() == [1, 1, 1]
    assert band["mean"].to_list() == [0.5, 0.6, 0.7]
    assert band["low"].null_count() == band["high"].null_count() == 3


def test_mean_of_known_values() -> None:
    values = [0.1, 0.4, 0.35]
    mean = Mean.of([*values, None])
    assert mean.n == 3
    assert mean.mean == pytest.approx(np.mean(values))
    assert mean.deviation == pytest.approx(np.std(values, ddof=1))
    assert Mean.of([0.5]) == Mean(1, 0.5, None)
    assert Mean.of([]) == Mean(0, None, None)


def test_the_target_is_a_share_of_what_all_done_runs_reach_to_three_digits(
    new_sweep: Callable[..., SweepWriter],
) -> None:
    sweep = new_sweep(arms={"none": {}, "relu": {}, "elu": {}}, seeds=(0, 1))
    assert summarize(read_directory(sweep.directory)).targets == {"": None}
    finals = {"none": (0.9, 0.88), "relu": (0.7, 0.71), "elu": (0.6,)}
    for arm, values in finals.items():
        for seed, final in enumerate(values):
            sweep.add_run(arm, seed, steps=(1, 2), top1=(0.5, final), test_top1=final)
    sweep.add_run("elu", 1, status="diverged", steps=(1,), top1=(0.2,))
    mean = np.mean([value for values in finals.values() for value in values])
    summary = summarize(read_directory(sweep.directory))
    assert summary.targets[""] == round(0.95 * mean, 3)
    assert f"steps to {summary.targets['']}" in arm_table(summary).columns


def test_crossing_is_linear_between_evaluations() -> None:
    crossing = first_crossing([100, 200, 300], [0.2, 0.6, 0.7], 0.5, budget=300)
    assert crossing.kind == "interpolated"
    assert crossing.steps == pytest.approx(np.interp(0.5, [0.2, 0.6], [100, 200]))


@pytest.mark.parametrize(
    ("top1", "budget", "kind", "steps"),
    [
        ([0.6, 0.7], 1000, "first", 100),
        ([0.2, 0.5], 1000, "interpolated", 200),
        ([0.2, 0.3], 1000, "not_reached", 1000),
        ([0.2, 0.3], None, "open", None),
        ([], 1000, "not_reached", 1000),
        ([], None, "open", None),
        ([0.2, 0.6, 0.3, 0.8], 1000, "interpolated", 175),
    ],
)
def test_kinds_of_crossing(top1, budget, kind, steps) -> None:
    at = [100 * (index + 1) for index in range(len(top1))]
    crossing = first_crossing(at, top1, 0.5, budget=budget)
    assert crossing.kind == kind
    assert crossing.steps == (None if steps is None else pytest.approx(steps))


def test_final_values_are_of_the_last_evaluation_not_the_best(
    new_sweep: Callable[..., SweepWriter],
) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=(0, 1))
    for seed in sweep.seeds:
        top1 = [0.5, 0.9, 0.7 + 0.1 * seed]
        sweep.add_run("none", seed, steps=(1, 2, 3), top1=top1, test_top1=0.6)
    arm = summarize(read_directory(sweep.directory)).arms[0]
    assert arm.valid_metric.mean == pytest.approx(0.75)
    assert arm.valid_metric.deviation == pytest.approx(np.std([0.7, 0.8], ddof=1))
    assert arm.test_metric == Mean(2, 0.6, 0.0)


def test_diverged_runs_count_as_not_reached_with_their_whole_budget(
    new_sweep: Callable[..., SweepWriter],
) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=(0, 1))
    sweep.add_run("none", 0, steps=STEPS, top1=saturating(0.9), test_top1=0.9)
    # What it reached before it diverged, it did not keep.
    sweep.add_run("none", 1, status="diverged", steps=STEPS[:2], top1=[0.89, float("nan")])
    summary = summarize(read_directory(sweep.directory))
    arm = summary.arms[0]
    assert summary.targets[""] == round(0.95 * saturating(0.9)[-1], 3)
    assert arm.valid_metric.n == 1
    assert arm.crossings == {"interpolated": 1, "not_reached": 1}
    assert summary.runs[1].crossing.steps == 1000
    assert arm.steps_to_target.mean is not None
    assert arm.steps_to_target.mean > 500


def test_a_running_run_is_neither_final_nor_not_reached(
    new_sweep: Callable[..., SweepWriter],
) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=(0, 1))
    sweep.add_run("none", 0, steps=STEPS, top1=saturating(0.9), test_top1=0.9)
    sweep.add_run("none", 1, status="running", steps=STEPS[:2], top1=[0.1, 0.2])
    summary = summarize(read_directory(sweep.directory))
    assert summary.arms[0].valid_metric.n == 1
    assert summary.arms[0].crossings.total() == 1
    assert summary.runs[1].crossing.kind == "open"
    assert summary.runs[1].last_step == 200


@pytest.mark.parametrize(
    ("status", "kind", "steps"),
    [("done", "not_reached", 1000), ("diverged", "not_reached", 1000), ("failed", "open", None)],
)
def test_a_run_without_a_curve_has_no_final_values(
    new_sweep: Callable[..., SweepWriter], status: str, kind: str, steps: float | None
) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=(0, 1, 2))
    sweep.add_run("none", 0, steps=STEPS, top1=saturating(0.9), test_top1=0.9)
    (sweep.add_run("none", 1, status=status) / "metrics.jsonl").unlink()
    first, without, planned = summarize(read_directory(sweep.directory)).runs
    assert (first.last_step, first.valid_step) == (1000, 1000)
    assert first.target == round(0.95 * saturating(0.9)[-1], 3)
    for outcome, crossing in ((without, Crossing(steps, kind)), (planned, Crossing(None, "open"))):
        assert outcome.crossing == crossing
        assert outcome.target == first.target
        assert outcome.last_step is outcome.valid_step is outcome.valid_metric is None


IMPROVED = ENDPOINT | {
    "probability_of_improvement": 0.75,
    "improvement_interval": [0.35, 0.968],
    "draws": 2,
}


def test_draws_are_told_beside_the_improvement() -> None:
    row = IMPROVED
    assert describe_improvement(row) == "0.75 (0.35 to 0.97, 2 draws)"
    assert describe_improvement(row | {"draws": 1}) == "0.75 (0.35 to 0.97, 1 draw)"
    assert describe_improvement(row | {"draws": 0}) == "0.75 (0.35 to 0.97)"
    assert describe_improvement(ENDPOINT) is None


def test_the_terminal_tells_an_improvement_as_the_page_does() -> None:
    (printed,) = verdict_table(verdicts_on({"endpoints": [IMPROVED]})["claims"]).rows
    assert printed[-1] == describe_improvement(IMPROVED)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, "0.003 to 0.021"),
        ({"confidence": 0.9}, "0.003 to 0.021 (90%)"),
        ({"interval": None}, "infinite"),
        ({"interval": None, "interval_is_empty": True}, "empty"),
        ({"interval": None, "effect": None}, "—"),
    ],
)
def test_the_page_tells_an_interval_as_the_terminal_does(
    fields: dict[str, Any], shown: str
) -> None:
    claim = verdicts_on({"endpoints": [ENDPOINT | fields]})["claims"][0]
    table = endpoint_table(claim)
    assert "its confidence" not in table.columns
    assert dict(zip(table.columns, table.rows[0], strict=True))["interval"] == shown


def test_one_is_not_many(new_sweep: Callable[..., SweepWriter]) -> None:
    assert describe_spread(["a", "a", "b"]) == "a (2 runs), b (1 run)"
    sweep = new_sweep(arms={"none": {}, "relu": {}}, seeds=(7,))
    for arm in sweep.arms:
        sweep.add_run(arm, 7, steps=STEPS, top1=saturating(0.9), test_top1=0.8)
    found = read_directory(sweep.directory)
    scope = describe_scope(found.runs, summarize(found).statuses)
    assert scope.startswith("2 finished runs with 1 seed, on")


def test_what_rounding_leaves_of_no_difference_is_shown_as_none() -> None:
    row = {**ENDPOINT, "effect": 1.388e-17, "interval": [-0.004, 2.2e-16]}
    claims = verdicts_on({"endpoints": [row]})["claims"]
    for table in (verdict_table(claims), endpoint_table(claims[0])):
        (printed,) = table.rows
        assert "0" in printed
        assert "−0.004 to 0" in printed


def test_a_p_value_is_never_rounded_to_nothing() -> None:
    row = {**ENDPOINT, "p": 1.5e-16, "p_adjusted": 3e-16}
    claims = verdicts_on({"endpoints": [row]})["claims"]
    for table in (verdict_table(claims), endpoint_table(claims[0])):
        assert {"1.5e−16", "3e−16"} <= set(table.rows[0])
