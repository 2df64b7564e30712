"""Claims about a sweep's runs, tested with SciPy as one writes it beside a training script.

The rules are those of the project's verdicts: differences are paired by seed, an exact two-sided
sign-flip test for each endpoint, the largest p-value of a claim's endpoints, Holm over the claims;
the target of "steps to target" is one for all runs, and has three digits.
Written for claims with a direction, of two arms, with the endpoints of `nonlinearity`.
"""

from typing import Any

import numpy as np
from scipy import stats

ALPHA = 0.05
TARGET_SHARE = 0.95
Runs = dict[tuple[str, int], dict[str, Any]]


def judge(claims: list[dict[str, Any]], runs: Runs, seeds: int) -> list[dict[str, Any]]:
    """`verdict` and adjusted `p` of each claim.

    Args:
        claims: `arm`, `baseline`, `direction` ("better" or "worse") and `endpoints`.
        runs: by arm and seed, `test` (accuracy) and `curve`, a list of (step, accuracy).
        seeds: how many: 0, 1, …
    """
    tested = [_tested(claim, runs, seeds) for claim in claims]
    adjusted = _holm([p for p, _ in tested])
    return [
        {"verdict": _word(p, holds), "p": p} for p, (_, holds) in zip(adjusted, tested, strict=True)
    ]


def _tested(claim: dict[str, Any], runs: Runs, seeds: int) -> tuple[float, bool]:
    """P-value of a claim, and whether all effects are where it has them."""
    sign = 1 if claim["direction"] == "better" else -1
    p_values, sides = [], []
    for endpoint in claim["endpoints"]:
        arm, baseline = _values(endpoint, (claim["arm"], claim["baseline"]), runs, seeds)
        gains = sign * (arm - baseline)
        test = stats.permutation_test(
            (gains,), np.mean, permutation_type="samples", vectorized=True, n_resamples=2**seeds
        )
        p_values.append(float(test.pvalue))
        sides.append(bool(gains.mean() >= 0))
    return (max(p_values) if len(set(sides)) == 1 else 1.0), all(sides)


def _values(endpoint: str, arms: tuple[str, str], runs: Runs, seeds: int) -> np.ndarray:
    """The endpoint of every run [arm, seed]; higher is better."""
    of_arms = [[runs[arm, seed] for seed in range(seeds)] for arm in arms]
    if endpoint == "final_top1":
        return np.array([[run["test"] for run in row] for row in of_arms])
    finals = [run["curve"][-1][1] for run in runs.values()]
    target = float(f"{TARGET_SHARE * np.mean(finals):.3g}")
    return -np.array([[_steps_to(target, run["curve"]) for run in row] for row in of_arms])


def _steps_to(target: float, curve: list[tuple[int, float]]) -> float:
    """The step at which a curve reaches `target`, linear between evaluations; else its last."""
    steps, values = np.array(curve, dtype=float).T
    reached = np.flatnonzero(values >= target)
    if not reached.size:
        return float(steps[-1])
    first = reached[0]
    if first == 0:
        return float(steps[0])
    around = slice(first - 1, first + 1)
    return float(np.interp(target, values[around], steps[around]))


def _holm(p_values: list[float]) -> list[float]:
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, p_values[index] * (len(p_values) - rank))
        adjusted[index] = min(1.0, largest)
    return adjusted


def _word(p: float, holds: bool) -> str:
    if p >= ALPHA:
        return "inconclusive"
    return "supported" if holds else "opposite"
