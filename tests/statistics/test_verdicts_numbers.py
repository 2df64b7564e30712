"""The numbers beside a verdict agree with it: intervals, the median, and what seeds can reach."""

import json
import warnings

import numpy as np
import pytest
from scipy import stats

from tests.known_effects import build, reported
from tests.programs import Call
from tests.statistics.planted_differences import set_differences
from tests.synthetic_sweep import NewSweep
from xception_jax.sweep import Claim


@pytest.mark.parametrize("other", ["rejected", "open"])
def test_what_six_seeds_can_reach_depends_on_the_other_claim(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator, other: str
) -> None:
    """By Holm, once the other claim is rejected, this one is tested at the full 5%."""
    claims = [Claim("a", "b"), Claim("c", "b")]
    missing = tuple(("c", seed) for seed in (6, 7, 8))
    sweep = build(new_sweep, claims, {"a": 0.03, "b": 0.0, "c": 0.0}, rng, seeds=9, skip=missing)
    if other == "open":
        set_differences(sweep, "a", "b", [0.012, -0.008] * 4 + [0.0])
    set_differences(sweep, "c", "b", [0.012, -0.008] * 3)
    first, second = reported(call, sweep)
    assert first["verdict"] == ("supported" if other == "rejected" else "inconclusive")
    assert (second["verdict"], second["n"]["pairs"]) == ("inconclusive", 6)
    cannot = "6 seeds cannot reach an adjusted p < 0.05, since the smallest is 0.0625"
    assert (cannot in second["sentence"]) == (other == "open")


def test_a_claim_about_the_median_has_the_sign_tests_p_and_interval(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [Claim("a", "b", test="median"), Claim("a", "b")]
    sweep = build(new_sweep, claims, {"a": 0.0, "b": 0.0}, rng, seeds=10)
    # One seed is far below the others: it moves the mean, and not the median.
    differences = [0.01, 0.012, 0.014, 0.02, 0.016, 0.018, 0.011, 0.013, 0.015, -0.5]
    set_differences(sweep, "a", "b", differences)
    median, mean = reported(call, sweep)
    assert [median["verdict"], mean["verdict"]] == ["supported", "inconclusive"]
    assert median["title"] == "a better than b: final_top1 (median)"
    (endpoint,) = median["endpoints"]
    expected = stats.quantile_test(differences, p=0.5)
    assert endpoint["p"] == pytest.approx(expected.pvalue)
    assert endpoint["interval"] == pytest.approx(list(expected.confidence_interval(0.95)))
    assert endpoint["effect"] == pytest.approx(np.median(differences))
    assert (endpoint["method"], endpoint["is_skewed"]) == ("sign test", False)
    assert "median paired difference over n = 10 seeds; exact sign test" in median["sentence"]
    assert "skewed" in mean["sentence"]


def test_an_interval_without_zero_beside_an_open_claim_is_explained(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [Claim("a", "b"), Claim("c", "b")]
    sweep = build(new_sweep, claims, {"a": 0.03, "b": 0.0, "c": 0.0}, rng, seeds=6)
    set_differences(sweep, "c", "b", [0.012, -0.008] * 3)
    first, second = reported(call, sweep)
    assert (first["verdict"], first["endpoints"][0]["p"]) == ("inconclusive", 2 / 64)
    assert first["endpoints"][0]["interval"][0] > 0
    words = "intervals belong to p, and are not adjusted for the number of claims"
    assert words in first["sentence"]
    assert words not in second["sentence"]


def test_the_needed_number_is_of_all_endpoints_at_once(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [Claim("a", "b", "better", ("final_top1", "curve_area")), Claim("a", "b")]
    sweep = build(new_sweep, claims, {"a": 0.0, "b": 0.0}, rng, spread=0.0)
    set_differences(sweep, "a", "b", [0.012, -0.008] * 4)
    for path in (sweep.run_directory("a", seed) for seed in range(8)):
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        shift = 0.012 if path.name.split("-")[1] in ("s0", "s1", "s2", "s3") else -0.008
        rows = [row | {"top1": row["top1"] + shift} for row in rows]
        (path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    both, alone = reported(call, sweep)
    first, second = both["endpoints"]
    assert first["needed_n"] == second["needed_n"] > alone["endpoints"][0]["needed_n"]


def test_a_sweep_without_results_warns_of_nothing(call: Call, new_sweep: NewSweep) -> None:
    claims = [Claim("a", "b").describe() | {"endpoints": ["final_top1", "curve_area"]}]
    sweep = new_sweep(arms={"a": {}, "b": {}}, claims=claims)
    sweep.add_run("a", 0, status="running")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (claim,) = reported(call, sweep)
    assert claim["verdict"] == "not tested"
