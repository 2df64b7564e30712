"""Judges the claims of a sweep: what `verdicts.json` holds.

The rules, which were made before any run:

* The seed is the unit and differences are paired. Fewer than 4 pairs give no verdict.
* A claim with a direction is tested two-sided and takes its direction from the sign of the effect,
  so that `supported` and `opposite` are one test, and neither is easier to reach than the other.
* Equivalence is tested by two one-sided tests (TOST); `opposite` is an effect beyond the margin.
* An endpoint's interval inverts its test. It leaves out zero, or lies within or beyond the margin,
  exactly where p, before it is adjusted for the number of claims, is below 5%.
* A claim of several endpoints holds only if all hold (intersection-union): its p is the largest.
* P-values are Holm-adjusted over all claims that were declared before the runs, those that could
  not be tested included. A post hoc claim is adjusted over all claims, and adds nothing to others.
* The number of seeds is declared before there are results. Seeds added later, and planned seeds
  that are missing, are said in the sentence and lower the grade to C.
* Where looks are declared, claims are judged at them and at no other number of seeds, by tests that
  hold for all looks. A claim is `open` while a look is still to come.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xception_jax.records import FEWEST_PAIRS
from xception_jax.statistics.claims import RecordedClaim, recorded_claims
from xception_jax.statistics.confirmation import with_replication
from xception_jax.statistics.declared import Declared, Plan, plan_of, read_declared
from xception_jax.statistics.endpoints import Measured, Outcome, Runs, measure
from xception_jax.statistics.grades import graded
from xception_jax.statistics.location import LocationTest, smallest_p
from xception_jax.statistics.looks import Stage, by_looks
from xception_jax.statistics.paired import (
    CONFIDENCE,
    correlation,
    crossed_interval,
    holm,
    is_skewed,
    other_intervals,
    probability_of_improvement,
    skewness,
)
from xception_jax.statistics.power import (
    ALPHA,
    Design,
    correlation_matrix,
    minimum_detectable_effect,
    needed_n,
)
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.sentences import Finding, seed_marks, sentence
from xception_jax.statistics.sequential import SequentialTest

SCHEMA = 1
METHODS = {"mean": "sign-flip", "median": "sign test"}
"""What the interval of each test is called."""


@dataclass(frozen=True)
class Case:
    """A claim, its endpoints as the runs have them, and their tests.

    Attributes:
        plan: its seeds as planned and as tested.
        p_values: of each endpoint; empty where there are too few pairs to test.
        sides: of each endpoint whether the effect is where the claim has it.
        stage: its place among the declared looks; None: there are none.
    """

    claim: RecordedClaim
    outcome: Outcome
    plan: Plan
    p_values: tuple[float, ...] = ()
    sides: tuple[bool, ...] = ()
    stage: Stage | None = None

    def test(self, endpoint: Measured) -> LocationTest:
        """The test of an endpoint's differences."""
        return _location_test(self.claim, endpoint, self.stage)

    @property
    def p(self) -> float:
        """The largest p, if the endpoints agree on what is so; else nothing can be concluded."""
        return max(self.p_values, default=1.0) if len(set(self.sides)) == 1 else 1.0

    @property
    def is_one_sided(self) -> bool:
        """Whether two one-sided tests look for equivalence, instead of one for a difference."""
        return self.claim.margin is not None and bool(self.sides) and all(self.sides)


def judge(sweep: Sweep, audit: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The verdict on every claim, as plain data for `verdicts.json`.

    Args:
        sweep: as read; the per-example results of its runs are read from its directory.
        audit: what `audit.audit` has found; None: claims get no grade.
    """
    cases = _cases(sweep)
    return {
        "schema": SCHEMA,
        "confidence": CONFIDENCE,
        "claims": with_replication(
            [_judged(sweep, case, _family(case, cases), audit) for case in cases], sweep.record
        ),
    }


def open_arms(sweep: Sweep) -> frozenset[str]:
    """The arms of all claims that a look may still decide; without declared looks, every arm."""
    if read_declared(sweep).looks is None:
        return frozenset(sweep.arms)
    cases = _cases(sweep)
    adjusted = [_adjusted(case, _family(case, cases), case.p) for case in cases]
    return frozenset(
        arm
        for case, p in zip(cases, adjusted, strict=True)
        if _verdict(case, p) == "open"
        for arm in case.claim.arms
    )


def _cases(sweep: Sweep) -> list[Case]:
    """Every claim with its tests: on all seeds, or on those up to its look."""
    declared, claims = read_declared(sweep), recorded_claims(sweep)
    looks, seeds = declared.looks, declared.seeds or ()
    if looks is None:
        runs = Runs(sweep)
        return [_case(runs, claim, declared) for claim in claims]
    runs_at = [Runs(sweep, seeds[:count]) for count in looks.counts]

    def case_at(at: int, number: int) -> Case | None:
        claim = claims[at]
        stage = Stage(looks, number, claim.pilot_seeds)
        case = _case(runs_at[max(0, number - 1)], claim, declared, stage)
        return case if number == 0 or case.p_values else None

    def is_decided(case: Case, cases: Sequence[Case]) -> bool:
        return _adjusted(case, _family(case, cases), case.p) < ALPHA

    return by_looks(looks, len(claims), case_at, is_decided)


def _family(case: Case, cases: Sequence[Case]) -> Sequence[Case]:
    """The claims over which the p-value of this one is adjusted."""
    return cases if case.claim.post_hoc else [each for each in cases if not each.claim.post_hoc]


def _case(runs: Runs, claim: RecordedClaim, declared: Declared, stage: Stage | None = None) -> Case:
    outcome = measure(runs, claim)
    if claim.problem:
        return Case(claim, outcome, Plan())
    if stage is not None:
        outcome = replace(outcome, planned=stage.tested)
        if not stage.number:  # before its first look, nothing is tested or shown
            return Case(claim, replace(outcome, seeds=(), endpoints=()), Plan(), stage=stage)
        case = Case(claim, outcome, Plan(planned=outcome.seeds), stage=stage)
        is_reached = len(outcome.seeds) == stage.seeds - claim.pilot_seeds
        return _tested(case) if is_reached else case
    present, pilot = runs.seeds(claim.arms), claim.pilot_seeds
    plan = plan_of(declared, present, outcome.seeds, pilot_seeds=pilot)
    outcome = replace(outcome, planned=len(plan.planned))
    if len(outcome.seeds) < FEWEST_PAIRS:
        return Case(claim, outcome, plan)
    return _tested(Case(claim, outcome, plan))


def _tested(case: Case) -> Case:
    tested = [_test(case, endpoint) for endpoint in case.outcome.endpoints]
    p_values, sides = zip(*tested, strict=True)
    return replace(case, p_values=p_values, sides=sides)


def _location_test(claim: RecordedClaim, endpoint: Measured, stage: Stage | None) -> LocationTest:
    if stage is None:
        return LocationTest(endpoint.differences, claim.test)
    return SequentialTest(endpoint.differences, claim.test, design=stage.design)


def _test(case: Case, endpoint: Measured) -> tuple[float, bool]:
    """P-value, and whether the effect is on the claim's side of zero, or inside its margin."""
    claim, test = case.claim, case.test(endpoint)
    if claim.margin is None:
        is_higher_meant = endpoint.higher_is_better == (claim.direction == "better")
        return test.p(), test.estimate >= 0 if is_higher_meant else test.estimate <= 0
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
    grade, reasons = graded(claim, seed_marks(case.plan), audit)
    least = _smallest_p(case)
    finding = Finding(
        claim,
        outcome,
        case.plan,
        verdict,
        endpoints,
        case.sides,
        len(family),
        least,
        _adjusted(case, family, least),
        case.stage,
    )
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
        "look": case.stage and case.stage.describe(),
        "endpoints": endpoints,
    }


def _smallest_p(case: Case) -> float:
    """The least p-value that so many seeds can give the claim."""
    if case.stage is not None:
        return case.stage.smallest_p(one_sided=case.is_one_sided)
    return smallest_p(len(case.outcome.seeds), one_sided=case.is_one_sided)


def _verdict(case: Case, p: float) -> str:
    if p >= ALPHA and case.stage is not None and case.stage.next_seeds is not None:
        return "open"
    if not case.p_values:
        return "not tested"
    if p >= ALPHA:
        return "inconclusive"
    if not all(case.sides):
        return "opposite"
    return "supported" if case.claim.margin is None else "equivalent"


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
    test = case.test(endpoint)
    p = case.p_values[at] if case.p_values else None
    tail = ALPHA if claim.margin is not None and _is_inside(test, claim.margin) else ALPHA / 2
    nulls = (0.0,) if claim.margin is None else (-claim.margin, claim.margin)
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
        "method": METHODS[claim.test] + " over looks" * (case.stage is not None) if n else None,
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
        The smallest detectable effect, in standard deviations of each endpoint's differences; and
        the number of seeds that would decide a claim that is open, if effects, spread and the
        correlation of the endpoints are as seen. None: there is none, or too few pairs to tell.
    """
    claim, n, margin = case.claim, len(case.outcome.seeds), case.claim.margin
    if n < 2:
        return None, None
    rows = [endpoint.differences for endpoint in case.outcome.endpoints]
    effects = np.array([LocationTest(row, claim.test).estimate for row in rows])
    deviations = np.array([row.std(ddof=1) for row in rows])
    known = Design(
        alpha=ALPHA / family,
        correlation=correlation_matrix(rows, [-1.0 if effect < 0 else 1.0 for effect in effects]),
        equivalence=margin is not None,
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
