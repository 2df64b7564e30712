"""Sweeps of known truth end in the right verdict, end to end through the command line."""

import csv
import io
import itertools
import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.known_effects import add_to_top1, build, change_records, reported
from tests.programs import Call
from tests.synthetic_sweep import STEPS, NewSweep, edit_run
from xception_jax.checksums import digest
from xception_jax.report.reading import read_directory
from xception_jax.statistics.verdicts import judge
from xception_jax.sweep import Claim


def test_planted_effects_are_supported_or_opposite(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    both = ("final_top1", "steps_to_target")
    claims = [Claim("a", "b", "better", both), Claim("b", "a", "better"), Claim("b", "a", "worse")]
    sweep = build(new_sweep, claims, {"a": 0.03, "b": 0.0}, rng)
    found = reported(call, sweep)
    assert [claim["verdict"] for claim in found] == ["supported", "opposite", "supported"]
    first = found[0]
    assert (first["grade"], first["declared"]) == ("A", "before the runs")
    assert first["n"] == {"planned": 8, "completed": 8, "diverged": 0, "pairs": 8}
    accuracy, steps = first["endpoints"]
    runs = {(run.arm, run.seed): run.test_top1 for run in read_directory(sweep.directory).runs}
    a, b = (np.array([runs[arm, seed] for seed in range(8)]) for arm in "ab")
    assert accuracy["effect"] == pytest.approx((a - b).mean())
    subsets = (s for k in range(1, 9) for s in itertools.combinations(a - b, k))
    means = np.sort([np.mean(s) for s in subsets])
    # p < 0.05 needs at most 12 of 256 sign patterns, 6 on a side, the observed one among them.
    np.testing.assert_allclose(accuracy["interval"], [means[5], means[-6]])
    assert (accuracy["method"], accuracy["confidence"]) == ("sign-flip", 0.95)
    student = stats.ttest_rel(a, b).confidence_interval()
    np.testing.assert_allclose(accuracy["other_intervals"]["paired t"], student)
    assert accuracy["correlation"] == pytest.approx(stats.pearsonr(a, b).statistic)
    assert [row["difference"] for row in accuracy["per_seed"]] == pytest.approx(list(a - b))
    assert (accuracy["p"], accuracy["probability_of_improvement"]) == (2 / 256, 1.0)
    assert accuracy["p_adjusted"] == pytest.approx(3 * 2 / 256)
    assert accuracy["example_interval"][0] < accuracy["effect"] < accuracy["example_interval"][1]
    assert steps["effect"] < 0
    assert steps["probability_of_improvement"] == 1.0
    for word in ("fashion_mnist_mini", "a and b", "1,000 steps", "n = 8", "p = 0.00781"):
        assert word in first["sentence"]


def test_no_effect_is_inconclusive_and_says_what_would_decide(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    # Differences of both signs in equal parts: far from any verdict, whatever else is random.
    sweep = build(new_sweep, [Claim("a", "b")], {"a": 0.0, "b": 0.0}, rng, spread=0.0)
    for seed in range(8):
        gain = 0.01 * (-1) ** seed + 0.002
        edit_run(sweep.run_directory("a", seed), partial(add_to_top1, gain))
    (claim,) = reported(call, sweep)
    assert claim["verdict"] == "inconclusive"
    needed = claim["endpoints"][0]["needed_n"]
    assert f"about {needed} seeds would decide it" in claim["sentence"]
    assert "other seeds than these, in a new directory" in claim["sentence"]
    deviation = np.std([0.012, -0.008] * 4, ddof=1)
    noncentral = stats.nct(needed - 1, 0.002 * np.sqrt(needed) / deviation)
    # The number comes from 2,500 simulated sweeps: three standard errors of the power are 0.024.
    assert noncentral.sf(stats.t(needed - 1).isf(0.025)) == pytest.approx(0.8, abs=0.03)


def test_equivalence_is_shown_within_the_margin_and_refuted_beyond(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [
        Claim("a", "b", "equivalent", margin=0.01),
        Claim("a", "c", "equivalent", margin=0.01),
        Claim("a", "b", "equivalent", margin=1e-6),
    ]
    sweep = build(new_sweep, claims, {"a": 0.0, "b": 0.0, "c": 0.05}, rng, spread=0.001, seeds=10)
    found = reported(call, sweep, "(90%)")
    assert [claim["verdict"] for claim in found[:2]] == ["equivalent", "opposite"]
    assert found[2]["verdict"] != "equivalent"
    endpoint = found[0]["endpoints"][0]
    assert endpoint["confidence"] == pytest.approx(0.9)  # each of the two tests has 5%
    assert -0.01 < endpoint["interval"][0] < endpoint["interval"][1] < 0.01
    assert found[1]["endpoints"][0]["confidence"] == 0.95
    assert found[1]["endpoints"][0]["interval"][1] < -0.01
    assert "BCa bootstrap" in endpoint["other_intervals"]
    assert "two one-sided" in found[0]["sentence"]
    assert "90% interval" in found[0]["sentence"]


def test_diverged_runs_count_as_chance_and_failed_ones_are_missing(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    endpoints = ("final_top1", "curve_area", "steps_to_target")
    sweep = build(
        new_sweep, [Claim("a", "b", "better", endpoints)], {"a": 0.02, "b": 0.0}, rng,
        seeds=9, skip=(("a", 8),), diverged=(("b", 2),),
    )  # fmt: skip
    (claim,) = reported(call, sweep)
    assert claim["n"] == {"planned": 9, "completed": 7, "diverged": 1, "pairs": 8}
    assert claim["verdict"] == "supported"
    final, area, steps = (endpoint["per_seed"][2] for endpoint in claim["endpoints"])
    assert final["seed"] == 2
    assert final["baseline"] == 0.1  # of ten classes
    assert steps["baseline"] == 1000
    rows = read_directory(sweep.directory).curves.filter(arm="b", seed=2, split="valid")
    alive = np.trapezoid(rows["top1"].to_numpy(), STEPS[:3])
    assert area["baseline"] == pytest.approx((alive + 0.1 * 700) / 900)
    assert "1 of 9 planned seeds missing" in claim["sentence"]
    assert "1 run that diverged counts as 0.1, chance" in claim["sentence"]
    assert "1 of 16 runs count with the whole budget of 1,000 steps" in claim["sentence"]
    assert "the differences in final top-1 and mean validation" in claim["sentence"]
    assert "look skewed" in claim["sentence"]
    assert claim["endpoints"][0]["is_skewed"]


def test_chance_without_predictions_is_that_of_the_number_of_classes(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    arms = {"a": 0.02, "b": 0.0}
    sweep = build(new_sweep, [Claim("a", "b")], arms, rng, diverged=(("b", 2),))
    for path in sweep.directory.glob("runs/*/predictions.npz"):
        path.unlink()
    change_records(sweep, lambda record: record.update(classes=20))
    (claim,) = reported(call, sweep)
    assert claim["endpoints"][0]["per_seed"][2]["baseline"] == 0.05


def test_chance_is_that_of_all_classes_though_the_test_labels_lack_some(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    sweep = build(new_sweep, [Claim("a", "b")], {"a": 0.02, "b": 0.0}, rng, diverged=(("b", 2),))
    for path in sweep.directory.glob("runs/*/predictions.npz"):
        with np.load(path) as arrays:
            np.savez(path, correct=arrays["correct"], label=arrays["label"] % 8)
    (claim,) = reported(call, sweep)
    assert claim["endpoints"][0]["per_seed"][2]["baseline"] == 0.1


def test_a_sweep_has_one_target_whatever_its_claims_compare(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [Claim("a", other, "better", ("steps_to_target",)) for other in ("b", "c")]
    sweep = build(new_sweep, claims, {"a": 0.0, "b": 0.03, "c": -0.1}, rng)
    finals = read_directory(sweep.directory).curves.filter(split="valid", step=STEPS[-1])["top1"]
    target = round(0.95 * float(np.mean(finals.to_numpy())), 3)
    found = reported(call, sweep)
    for claim in found:
        assert f"steps to {target} validation top-1" in claim["sentence"]
    assert f"Steps to {target}:" in (sweep.directory / "report" / "index.html").read_text()
    results = (sweep.directory / "report" / "results.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(results)))
    assert {row["target"] for row in rows} == {str(target)}
    steps = {(row["arm"], int(row["seed"])): float(row["steps_to_target"]) for row in rows}
    for claim, other in zip(found, "bc", strict=True):
        for row in claim["endpoints"][0]["per_seed"]:
            assert row["difference"] == pytest.approx(
                steps["a", row["seed"]] - steps[other, row["seed"]]
            )


def test_a_declared_target_is_shown_with_all_its_digits(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [Claim("a", "b", "better", ("steps_to_target",), target=0.70125)]
    sweep = build(new_sweep, claims, {"a": 0.03, "b": 0.0}, rng)
    (claim,) = reported(call, sweep)
    assert "steps to 0.70125 validation top-1" in claim["sentence"]
    assert "Steps to 0.70125:" in (sweep.directory / "report" / "index.html").read_text()


def test_pilot_seeds_set_the_target_and_are_not_tested(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [Claim("a", "b", "better", ("steps_to_target",), pilot_seeds=3)]
    sweep = build(new_sweep, claims, {"a": 0.03, "b": 0.0}, rng, seeds=10)
    (claim,) = reported(call, sweep)
    (steps,) = claim["endpoints"]
    assert claim["verdict"] == "supported"
    assert [row["seed"] for row in steps["per_seed"]] == list(range(3, 10))
    rows = read_directory(sweep.directory).curves.filter(split="valid", step=STEPS[-1])
    target = 0.95 * np.mean(rows.filter(rows["seed"] < 3)["top1"].to_numpy())
    assert f"steps to {target:.3g} validation top-1" in claim["sentence"]


def test_a_multi_label_sweep_is_judged_by_its_metric(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    sweep = build(
        new_sweep, [Claim("a", "b", "better", ("final_map100",))], {"a": 0.03, "b": 0}, rng
    )

    def rank(record: dict[str, Any]) -> None:
        map100 = 0.5 + 0.001 * record["seed"] + 0.2 * (record["arm"] == "b")
        record["metric"], record["result"]["map100"] = "map100", map100

    change_records(sweep, rank)
    (claim,) = reported(call, sweep)
    assert claim["verdict"] == "opposite"  # whatever top-1 says
    assert claim["endpoints"][0]["effect"] == pytest.approx(-0.2)
    assert claim["endpoints"][0]["unit"] == "MAP@100"


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        (3, ("not tested", "fewer than 4 give no verdict")),
        (
            5,
            (
                "inconclusive",
                "since the smallest two-sided p is 0.0625",
                "no finite 95% interval, which takes 6 seeds",
            ),
        ),
    ],
)
def test_few_seeds_give_no_verdict(
    call: Call,
    new_sweep: NewSweep,
    rng: np.random.Generator,
    seeds: int,
    expected: tuple[str, ...],
) -> None:
    sweep = build(new_sweep, [Claim("a", "b")], {"a": 0.1, "b": 0.0}, rng, seeds=seeds)
    (claim,) = reported(call, sweep, "infinite")
    verdict, *reasons = expected
    assert claim["verdict"] == verdict
    assert all(reason in claim["sentence"] for reason in reasons)


def test_an_interaction_is_a_difference_of_differences(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claim = Claim("a", "b", "better", versus=("c", "d"))
    effects = {"a": 0.02, "b": 0.0, "c": 0.0, "d": 0.03}
    sweep = build(new_sweep, [claim, replace(claim, direction="worse")], effects, rng)
    found = reported(call, sweep)
    assert [each["verdict"] for each in found] == ["supported", "opposite"]
    endpoint = found[0]["endpoints"][0]
    # The mean over 8 seeds of 4 arms, each with noise of 0.002, deviates by 0.0014.
    assert endpoint["effect"] == pytest.approx(0.05, abs=0.01)
    row = endpoint["per_seed"][0]
    assert row["difference"] == pytest.approx(row["arm"] - row["baseline"])


def test_unequal_data_and_late_claims_lower_the_grade(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    sweep = build(new_sweep, [Claim("a", "b")], {"a": 0.03, "b": 0.0, "c": 0.0}, rng)
    path = sweep.directory / "sweep.json"
    record = json.loads(path.read_text())
    record["claims_sha256"] = digest(record["experiment"]["claims"])
    record["post_hoc_claims"] = [Claim("a", "c").describe()]
    path.write_text(json.dumps(record))
    pairing = sweep.run_directory("c", 4) / "pairing.json"
    start = json.loads(pairing.read_text())
    start["epochs"][1]["batches"] = "0" * 16
    first, late = reported(call, sweep)
    assert (first["grade"], first["declared"], first["grade_reasons"]) == (
        "A", "before the runs", [],
    )  # fmt: skip
    assert (late["grade"], late["declared"], late["verdict"]) == ("B", "post hoc", "supported")
    assert first["endpoints"][0]["p_adjusted"] == 2 / 256  # a late claim costs the others nothing
    assert late["endpoints"][0]["p_adjusted"] == 2 * 2 / 256
    pairing.write_text(json.dumps(start))
    assert [claim["grade"] for claim in reported(call, sweep)] == ["A", "C"]
    record["experiment"]["claims"][0]["direction"] = "worse"
    path.write_text(json.dumps(record))
    assert reported(call, sweep)[0]["declared"] == "post hoc"


def test_what_is_no_claim_is_not_tested(new_sweep: NewSweep) -> None:
    claims = ["free text", {"arm": "a"}, Claim("x", "y").describe(), {"arm": float("nan")}]
    sweep = new_sweep(arms={"a": {}, "b": {}}, claims=claims)
    content = judge(read_directory(sweep.directory))
    assert [claim["verdict"] for claim in content["claims"]] == ["not tested"] * 4
    assert "no arm 'x'" in content["claims"][2]["sentence"]
    json.dumps(content, allow_nan=False)
