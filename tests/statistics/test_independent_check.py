"""Verdicts of many synthetic sweeps, worked out a second time with SciPy and by enumeration.

Nothing here calls the package's statistics: p-values are `scipy.stats.permutation_test`'s and
`quantile_test`'s, Holm's adjustment is the closure of Bonferroni tests, intervals are checked by
testing beside their ends, and endpoints are computed from the numbers that were written.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.synthetic_sweep import STEPS, SweepWriter
from xception_jax.report.reading import read_directory
from xception_jax.statistics.verdicts import judge

Draw = np.random.Generator
ARMS = ("a", "b", "c")
CHANCE = 0.1


def random_claims(rng: Draw) -> list[dict[str, Any]]:
    """One to three claims of every kind, on endpoints that need no target."""
    claims: list[dict[str, Any]] = []
    for arm, baseline in rng.permutation(list(itertools.permutations(ARMS, 2)))[
        : rng.integers(1, 4)
    ]:
        endpoints = [["final_top1"], ["curve_area"], ["final_top1", "curve_area"]]
        direction = str(rng.choice(["better", "worse", "equivalent", "not_worse"]))
        has_margin = direction in ("equivalent", "not_worse") or rng.uniform() < 0.4
        margin = float(rng.choice([0.004, 0.01, 0.03])) if has_margin else None
        claim: dict[str, Any] = {"arm": str(arm), "baseline": str(baseline), "direction": direction}
        claim |= {"endpoints": endpoints[rng.integers(3)], "margin": margin}
        claims.append(claim | ({"test": "median"} if rng.uniform() < 0.3 else {}))
    return claims


def write_sweep(rng: Draw, directory: Path) -> tuple[SweepWriter, dict[str, np.ndarray]]:
    """A sweep with effects, noise and a few divergences, and each endpoint's values by arm."""
    seeds = int(rng.integers(4, 12))
    sweep = SweepWriter(
        directory, arms={arm: {"model.name": arm} for arm in ARMS}, seeds=range(seeds),
        claims=random_claims(rng),
    )  # fmt: skip
    finals, areas = np.zeros((3, seeds)), np.zeros((3, seeds))
    effects = rng.choice([0.0, 0.004, 0.02], 3)
    decimals = int(rng.choice([3, 12]))  # with three, many differences are equal or zero
    for (at, arm), seed in itertools.product(enumerate(ARMS), range(seeds)):
        diverged = rng.uniform() < 0.03
        final = float(np.round(0.8 + effects[at] + rng.normal(0, 0.005), decimals))
        kept = 3 if diverged else len(STEPS)
        curve = np.linspace(0.2, final, len(STEPS))[:kept]
        sweep.add_run(
            arm, seed, status="diverged" if diverged else "done", steps=STEPS[:kept],
            top1=curve.tolist(), test_top1=None if diverged else final, classes=10,
        )  # fmt: skip
        finals[at, seed] = CHANCE if diverged else final
        area = np.trapezoid(curve, STEPS[:kept]) + CHANCE * (STEPS[-1] - STEPS[kept - 1])
        areas[at, seed] = area / (STEPS[-1] - STEPS[0])
    return sweep, {"final_top1": finals, "curve_area": areas}


def one_sided(differences: np.ndarray, null: float, test: str, alternative: str) -> float:
    """SciPy's p-value that the mean or the median is greater, or less, than `null`."""
    # As whole numbers, whose sums are exact, since SciPy compares numbers as they are.
    values = np.round((differences - null) * 1e10)
    if test == "median":
        return stats.quantile_test(values, q=0, p=0.5, alternative=alternative).pvalue
    result = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", alternative=alternative, n_resamples=np.inf
    )
    return result.pvalue


def null_of(claim: dict[str, Any]) -> float:
    """The difference that a claim is tested against; both endpoints are better if higher."""
    margin = claim["margin"] or 0.0
    return margin if claim["direction"] == "better" else -margin


def expected_p(differences: np.ndarray, claim: dict[str, Any]) -> tuple[float, float]:
    """The endpoint's p-value and effect."""
    test, margin = claim.get("test", "mean"), claim["margin"]
    effect = float(np.median(differences) if test == "median" else differences.mean())

    def greater(null: float) -> float:
        return one_sided(differences, null, test, "greater")

    def less(null: float) -> float:
        return one_sided(differences, null, test, "less")

    if claim["direction"] != "equivalent":
        null = null_of(claim)
        return min(1.0, 2 * min(greater(null), less(null))), effect
    if abs(effect) < margin:
        return max(greater(-margin), less(margin)), effect
    return min(1.0, 2 * min(greater(margin), less(-margin))), effect


def check_interval(differences: np.ndarray, claim: dict, endpoint: dict) -> None:
    """Just inside an end the one-sided test does not reject, just outside it does."""
    tail, test = (1 - endpoint["confidence"]) / 2, claim.get("test", "mean")
    is_equivalence = claim["direction"] == "equivalent"
    inside = is_equivalence and abs(endpoint["effect"]) < claim["margin"]
    assert tail == pytest.approx(0.05 if inside else 0.025)
    if endpoint["interval"] is None:
        assert 2.0**-differences.size >= tail
        return
    low, high = endpoint["interval"]
    step = 1e-7
    assert one_sided(differences, low - step, test, "greater") < tail
    assert one_sided(differences, low + step, test, "greater") >= tail or low + step > high
    assert one_sided(differences, high + step, test, "less") < tail
    assert one_sided(differences, high - step, test, "less") >= tail or high - step < low


def check_sweep(rng: Draw, directory: Path) -> list[str]:
    sweep, values = write_sweep(rng, directory)
    claims = list(sweep.claims)
    found: list[Any] = judge(read_directory(sweep.directory))["claims"]
    sides, p_claims = [], []
    for claim, judged in zip(claims, found, strict=True):
        rows = [values[name] for name in claim["endpoints"]]
        arm, baseline = (ARMS.index(claim[name]) for name in ("arm", "baseline"))
        p_values, agree = [], []
        for row, endpoint in zip(rows, judged["endpoints"], strict=True):
            differences = row[arm] - row[baseline]
            p, effect = expected_p(differences, claim)
            # Counted patterns divided by their number, and means: float64's 1e-16.
            assert endpoint["p"] == pytest.approx(p, abs=1e-12)
            assert endpoint["effect"] == pytest.approx(effect, abs=1e-12)
            check_interval(differences, claim, endpoint)
            p_values.append(p)
            sign = -1 if claim["direction"] == "worse" else 1
            is_beyond = sign * (effect - null_of(claim)) >= 0
            is_equivalence = claim["direction"] == "equivalent"
            agree.append(abs(effect) < claim["margin"] if is_equivalence else is_beyond)
        sides.append(agree)
        p_claims.append(max(p_values) if len(set(agree)) == 1 else 1.0)
    numbers = range(len(claims))
    for at, (claim, judged) in enumerate(zip(claims, found, strict=True)):
        subsets = (s for k in numbers for s in itertools.combinations(numbers, k + 1) if at in s)
        adjusted = max(min(1.0, len(s) * min(p_claims[i] for i in s)) for s in subsets)
        verdict = "inconclusive"
        if adjusted < 0.05:
            right = "equivalent" if claim["direction"] == "equivalent" else "supported"
            verdict = right if all(sides[at]) else "opposite"
        assert judged["verdict"] == verdict, (claim, p_claims)
        check_agreement(claim, judged)
    return [judged["verdict"] for judged in found]


def check_agreement(claim: dict, judged: dict) -> None:
    """Asserts that each decision stands beside intervals that say the same."""
    is_equivalence = claim["direction"] == "equivalent"
    low_edge, high_edge = (null_of(claim),) * 2
    if is_equivalence:
        low_edge, high_edge = -claim["margin"], claim["margin"]
    for endpoint in judged["endpoints"]:
        if endpoint["interval"] is None:
            assert judged["verdict"] == "inconclusive"
            continue
        low, high = endpoint["interval"]
        is_beyond, is_inside = (
            low > high_edge or high < low_edge,
            low_edge < low and high < high_edge,
        )
        if judged["verdict"] in ("supported", "opposite"):
            assert is_beyond
        if judged["verdict"] == "equivalent":
            assert is_inside
        decides = is_beyond or (is_inside and is_equivalence)
        assert decides == (endpoint["p"] < 0.05)


@pytest.mark.parametrize(
    "sweeps", [pytest.param(5, id="quick"), pytest.param(300, marks=pytest.mark.slow, id="all")]
)
def test_verdicts_are_those_worked_out_a_second_time(
    rng: Draw, tmp_path: Path, sweeps: int
) -> None:
    verdicts: list[str] = []
    for number in range(sweeps):
        verdicts += check_sweep(rng, tmp_path / str(number))
    if sweeps > 100:
        assert {"supported", "opposite", "equivalent", "inconclusive"} == set(verdicts)
