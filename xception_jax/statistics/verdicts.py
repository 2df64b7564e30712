"""Judges the claims of a sweep: what `verdicts.json` holds.

The rules, which were made before any run:

* The seed is the unit and differences are paired. Fewer than 4 pairs give no verdict.
* A claim with a direction is tested two-sided and takes its direction from the sign of the effect,
  so that `supported` and `opposite` are one test, and neither is easier to reach than the other.
* With a margin the same test is made of the differences less the margin: `better` by at least as
  much; or, for `not_worse`, plus the margin. So `not_worse` is concluded at a one-sided 2.5%: where
  the lower end of the two-sided 95% interval lies above minus the margin.
* Equivalence is tested by two one-sided tests (TOST); `opposite` is an effect beyond the margin.
* An endpoint's interval inverts its test. It leaves out the difference that is tested, or lies
  within or beyond the margin of an equivalence, exactly where p, before it is adjusted for the
  number of claims, is below 5%.
* A claim of several endpoints holds only if all hold (intersection-union): its p is the largest.
* P-values are Holm-adjusted over all claims that were declared before the runs, those that could
  not be tested included. A post hoc claim is adjusted over all claims, and adds nothing to others.
* The number of seeds is declared before there are results. Seeds added later, and planned seeds
  that are missing, are said in the sentence and lower the grade to C.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from xception_jax.statistics.claims import RecordedClaim, recorded_claims
from xception_jax.statistics.compute import Compute
from xception_jax.statistics.declared import Declared, Plan, plan_of, read_declared
from xception_jax.statistics.endpoints import Measured, Outcome, Runs, measure
from xception_jax.statistics.location import LocationTest, smallest_p
from xception_jax.statistics.noise import noise_rows
from xception_jax.statistics.paired import (
    CONFIDENCE,
    correlation,
    crossed_interval,
    holm,
    improvement_interval,
    is_skewed,
    other_intervals,
    probability_of_improvement,
    skewness,
)
from xception_jax.statistics.power import (
    ALPHA,
    FEWEST_PAIRS,
    Design,
    correlation_matrix,
    minimum_detectable_effect,
    needed_n,
)
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.sentences import Finding, seed_marks, sentence

SCHEMA = 1
METHODS = {"mean": "sign-flip", "median": "sign test"}
"""What the interval of each test is called."""
_LOWERS_TO = {
    **dict.fromkeys(("versions", "commit", "devices", "deterministic"), "B"),
    **dict.fromkeys(("options", "unrecorded"), "B"),
    **dict.fromkeys(("initial", "batches", "augmentation", "settings"), "C"),
    **dict.fromkeys(("data", "pixels", "code"), "C"),
}


@dataclass(frozen=True)
class Case:
    """A claim, its endpoints as the runs have them, and their tests.

    Attributes:
        plan: its seeds as planned and as tested.
        p_values: of each endpoint; empty where there are too few pairs to test.
        sides: of each endpoint whether the effect is where the claim has it.
    """

    claim: RecordedClaim
    outcome: Outcome
    plan: Plan
    p_values: tuple[float, ...] = ()
    sides: tuple[bool, ...] = ()

    @property
    def p(self) -> float:
        """The largest p, if the endpoints agree on what is so; else nothing can be concluded."""
        return max(self.p_values, default=1.0) if len(set(self.sides)) == 1 else 1.0

    @property
    def runs_used(self) -> set[tuple[str, int]]:
        """Arm and seed of every run that the verdict rests on; none where nothing was tested."""
        seeds = self.outcome.seeds if self.p_values else ()
        return set(product(self.claim.arms, seeds))

    @property
    def is_one_sided(self) -> bool:
        """Whether two one-sided tests look for equivalence, instead of one for a difference."""
        return self.claim.is_equivalence and bool(self.sides) and all(self.sides)


def judge(sweep: Sweep, audit: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The verdict on every claim, as plain data for `verdicts.json`.

    Args:
        sweep: as read; the per-example results of its runs are read from its directory.
        audit: what `audit.audit` has found; None: claims get no grade.
    """
    runs = Runs(sweep)
    declared_seeds = read_declared(sweep)
    cases = [_case(runs, claim, declared_seeds) for claim in recorded_claims(sweep)]
    declared = [case for case in cases if not case.claim.post_hoc]
    compute = Compute(sweep)
    return {
        "schema": SCHEMA,
        "confidence": CONFIDENCE,
        "claims": [
            {
                **_judged(sweep, case, cases if case.claim.post_hoc else declared, audit),
                "compute": compute.describe(case.runs_used, case.claim.arms),
            }
            for case in cases
        ],
        "compute": compute.describe({used for case in cases for used in case.runs_used}),
        "noise": noise_rows(runs),
    }


def _case(runs: Runs, claim: RecordedClaim, declared: Declared) -> Case:
    outcome = measure(runs, claim)
    if claim.problem:
        return Case(claim, outcome, Plan())
    present, pilot = runs.seeds(claim.arms), claim.pilot_seeds
    plan = plan_of(declared, present, outcome.seeds, pilot_seeds=pilot)
    outcome = replace(outcome, planned=len(plan.planned))
    if len(outcome.seeds) < FEWEST_PAIRS:
        return Case(claim, outcome, plan)
    tested = [_test(claim, endpoint) for endpoint in outcome.endpoints]
    p_values, sides = zip(*tested, strict=True)
    return Case(claim, outcome, plan, p_values, sides)


def _test(claim: RecordedClaim, endpoint: Measured) -> tuple[float, bool]:
    """P-value, and whether the effect is on the claim's side of its null, or inside its margin."""
    test = LocationTest(endpoint.differences, claim.test)
    if not claim.is_equivalence:
        null = _null(claim, endpoint)
        side = claim.side(higher_is_better=endpoint.higher_is_better)
        return test.p(null), side * (test.estimate - null) >= 0
    assert claim.margin is not None
    if abs(test.estimate) < claim.margin:
        return test.p_within(claim.margin), True
    return test.p_beyond(claim.margin), False


def _judged(
    sweep: Sweep, case: Case, family: Sequence[Case], audit: Mapping[str, Any] | None
) -> dict[str, Any]:
    claim, outcome = case.claim, case.outcome
    verdict = _verdict(case, _adjusted(case, family, case.p))
    power = _power(case, len(family), is_open=verdict == "inconclusive")
    endpoints = [_endpoint(case, at, family, power) for at in range(len(outcome.endpoints))]
    grade, reasons = _grade(claim, seed_marks(case.plan), audit)
    least = smallest_p(len(outcome.seeds), one_sided=case.is_one_sided)
    least = _adjusted(case, family, least)
    finding = Finding(claim, outcome, case.plan, verdict, endpoints, case.sides, len(family), least)
    return {
        "claim": dict(claim.content),
        "title": claim.title,
        "declared": "post hoc" if claim.post_hoc else "before the runs",
        "verdict": verdict,
        "sentence": sentence(sweep, finding),
        "grade": grade,
        "grade_reasons": reasons,
        "n": {
            "planned": outcome.planned,
            "completed": outcome.completed,
            "diverged": outcome.diverged,
            "pairs": len(outcome.seeds),
        },
        "added_seeds": list(case.plan.added),
        "endpoints": endpoints,
    }


def _verdict(case: Case, p: float) -> str:
    if not case.p_values:
        return "not tested"
    if p >= ALPHA:
        return "inconclusive"
    if not all(case.sides):
        return "opposite"
    return "equivalent" if case.claim.is_equivalence else "supported"


def _adjusted(case: Case, family: Sequence[Case], p: float) -> float:
    """The Holm-adjusted p-value of this claim, if its p-value were `p`."""
    at = next(number for number, other in enumerate(family) if other is case)
    values = [p if number == at else other.p for number, other in enumerate(family)]
    return float(holm(values)[at])


def _endpoint(
    case: Case, at: int, family: Sequence[Case], power: tuple[float | None, int | None]
) -> dict[str, Any]:
    """One endpoint as plain data; what cannot be computed from so few pairs is null."""
    claim, endpoint = case.claim, case.outcome.endpoints[at]
    differences, n = endpoint.differences, len(case.outcome.seeds)
    test = LocationTest(differences, claim.test)
    p = case.p_values[at] if case.p_values else None
    margin = (claim.margin or 0.0) if claim.is_equivalence else 0.0
    tail = ALPHA if _is_inside(test, margin) else ALPHA / 2
    null = _null(claim, endpoint)
    nulls = (-margin, margin) if claim.is_equivalence else (null,)
    interval = list(test.interval(tail, nulls)) if n else []
    detectable, needed = power
    gains = differences if endpoint.higher_is_better else -differences
    is_mean = claim.test == "mean"
    examples = endpoint.example_differences if n >= 2 and is_mean else None
    one, other = endpoint.sides
    return {
        "endpoint": endpoint.name,
        "unit": endpoint.unit,
        "effect": test.estimate if n else None,
        "interval": interval if interval and math.isfinite(interval[0]) else None,
        "confidence": 1 - 2 * tail,
        "null": None if claim.is_equivalence else null,
        "method": METHODS[claim.test] if n else None,
        "other_intervals": other_intervals(differences) if n >= 2 and is_mean else {},
        "skewness": skewness(differences),
        "is_skewed": is_mean and is_skewed(differences),
        "p": p,
        "p_adjusted": None if p is None else _adjusted(case, family, p),
        "needed_n": needed,
        "minimum_detectable_effect": None
        if detectable is None or n < 2
        else detectable * (endpoint.deviation or 0.0),
        "correlation": correlation(one, other),
        "probability_of_improvement": probability_of_improvement(gains) if n else None,
        "improvement_interval": list(improvement_interval(gains)) if n else None,
        "draws": int(np.sum(gains == 0)),
        "example_interval": None if examples is None else list(crossed_interval(examples)),
        "per_seed": [
            {"seed": seed, "arm": float(a), "baseline": float(b), "difference": float(a - b)}
            for seed, a, b in zip(case.outcome.seeds, one, other, strict=True)
        ],
    }


def _is_inside(test: LocationTest, margin: float) -> bool:
    return bool(test.differences.size) and abs(test.estimate) < margin


def _power(case: Case, family: int, *, is_open: bool) -> tuple[float | None, int | None]:
    """What the claim's seeds can find, and how many would decide it, all endpoints at once.

    Returns:
        The smallest detectable effect, beyond the margin if the claim has one, in standard
        deviations of each endpoint's differences; and the number of seeds that would decide a claim
        that is open, if effects, spread and the correlation of the endpoints are as seen. None:
        there is none, or too few pairs to tell.
    """
    claim, n = case.claim, len(case.outcome.seeds)
    if n < 2:
        return None, None
    margin = claim.margin if claim.is_equivalence else 0.0
    rows = [endpoint.differences - _null(claim, endpoint) for endpoint in case.outcome.endpoints]
    effects = np.array([LocationTest(row, claim.test).estimate for row in rows])
    deviations = np.array([row.std(ddof=1) for row in rows])
    known = Design(
        alpha=ALPHA / family,
        correlation=correlation_matrix(rows, [-1.0 if effect < 0 else 1.0 for effect in effects]),
        equivalence=claim.is_equivalence,
        test=claim.test,
    )
    detectable = minimum_detectable_effect(n, known)
    if not is_open or len(set(case.sides)) > 1:
        return detectable, None
    # Differences that are all alike have no spread to measure the effect by.
    scale = np.maximum(deviations, 1e-9 * np.maximum(np.abs(effects), margin or 1e-300))
    if case.is_one_sided:
        assert margin is not None
        needed = needed_n(list(effects / scale), known, list(margin / scale))
    else:
        distances = (np.abs(effects) - (margin or 0.0)) / scale
        needed = needed_n(list(distances), replace(known, equivalence=False))
    return detectable, needed and max(needed, n + 1)


def _null(claim: RecordedClaim, endpoint: Measured) -> float:
    """The difference from which effects are counted: zero for an equivalence."""
    if claim.is_equivalence:
        return 0.0
    return claim.null(higher_is_better=endpoint.higher_is_better)


def _grade(
    claim: RecordedClaim, marks: Sequence[str], audit: Mapping[str, Any] | None
) -> tuple[str | None, list[str]]:
    """The grade, A if everything pairs and is as declared before the runs, and why it is lower."""
    if audit is None:
        return None, []
    mismatches = [row for row in audit["mismatches"] if set(row["arms"]) <= set(claim.arms)]
    reasons = [mismatch["text"] for mismatch in mismatches]
    grade = max((_LOWERS_TO.get(row["kind"], "C") for row in mismatches), default="A")
    if claim.post_hoc:
        reasons.append(claim.lateness)
        grade = {"A": "B"}.get(grade, "C")
    return "C" if marks else grade, [*reasons, *marks]
