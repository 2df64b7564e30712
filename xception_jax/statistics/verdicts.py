"""Judges the claims of a sweep: what `verdicts.json` holds.

The rules, which were made before any run:

* The seed is the unit and differences are paired. Fewer than 4 pairs give no verdict.
* A claim with a direction is tested two-sided and takes its side from the smaller one-sided p, so
  that `supported` and `opposite` are one test, and neither is easier to reach than the other.
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
* Where looks are declared, claims are judged at them and at no other number of seeds, by tests that
  hold for all looks. A claim is `open` while a look is still to come.
* Where there are several bases, a claim has a verdict over all of them and one on each: `across`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xception_jax.statistics.across import ClaimOverBases, judged_across, read_across, with_ceilings
from xception_jax.statistics.across_sentences import sentence_across
from xception_jax.statistics.bases import parts_of
from xception_jax.statistics.cases import (
    AnyCase,
    Case,
    adjusted_p,
    family_of,
    null_of,
    read_cases,
    stated_interval,
    verdict_of,
)
from xception_jax.statistics.compute import Compute
from xception_jax.statistics.confirmation import with_replication
from xception_jax.statistics.declared import read_declared
from xception_jax.statistics.grades import graded
from xception_jax.statistics.json_types import (
    Audit,
    BaseVerdict,
    ClaimVerdict,
    EndpointVerdict,
    Interval,
    SpentCompute,
    Verdicts,
)
from xception_jax.statistics.location import LocationTest
from xception_jax.statistics.noise import noise_rows
from xception_jax.statistics.paired import (
    CONFIDENCE,
    correlation,
    crossed_interval,
    improvement_interval,
    is_skewed,
    other_intervals,
    probability_of_improvement,
    skewness,
)
from xception_jax.statistics.power import (
    ALPHA,
    Design,
    correlation_matrix,
    known_deviation,
    minimum_detectable_effect,
    needed_n,
)
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.runs import Runs
from xception_jax.statistics.sentences import Finding, seed_marks, sentence

SCHEMA = 1
METHODS = {"mean": "sign-flip", "median": "sign test"}
"""What the interval of each test is called."""


def judge(sweep: Sweep, audit: Audit | None = None) -> Verdicts:
    """The verdict on every claim, as plain data for `verdicts.json`.

    Args:
        sweep: as read; the per-example results of its runs are read from its directory.
        audit: the result of `audit.audit`; None: claims get no grade.
    """
    compute = Compute(sweep)
    runs = [Runs(part) for part in parts_of(sweep)]
    if sweep.bases:
        over_bases = with_ceilings(read_across(sweep, runs))
        cases = [case for across in over_bases for case in across.cases]
        claims = [_over_bases(runs, across, over_bases, audit, compute) for across in over_bases]
    else:
        cases = read_cases(runs[0])
        claims = [
            _judged(sweep, case, family_of(case, cases), audit, compute=compute) for case in cases
        ]
    return {
        "schema": SCHEMA,
        "confidence": CONFIDENCE,
        "claims": with_replication(claims, sweep.record),
        "compute": compute.describe({used for case in cases for used in case.runs_used}),
        "noise": [row for on_base in runs for row in noise_rows(on_base)],
    }


def _over_bases(
    runs: Sequence[Runs],
    across: ClaimOverBases,
    claims: Sequence[ClaimOverBases],
    audit: Audit | None,
    compute: Compute,
) -> ClaimVerdict:
    """The verdict on a claim over several bases, with those on each of them."""
    cases = [case for claim in claims for case in claim.cases]
    by_name = {on_base.sweep.base.name: on_base.sweep for on_base in runs if on_base.sweep.base}
    parts, family = [by_name[name] for name in across.bases], family_of(across, claims)
    on_bases: list[BaseVerdict] = [
        {
            "base": name,
            "arms": list(case.claim.arms),
            **_judged(part, case, family_of(case, cases), audit, compute=compute, bases=len(parts)),
        }
        for name, part, case in zip(across.bases, parts, across.cases, strict=True)
    ]
    sentence = sentence_across(parts, across, family, on_bases)
    return judged_across(across, family, on_bases, sentence, _spent(compute, across.cases))


def _spent(compute: Compute, cases: Sequence[Case]) -> SpentCompute:
    """The compute of the arms of a claim, on one base or on several."""
    used = {run for case in cases for run in case.runs_used}
    arms = {arm for case in cases for arm in case.claim.arms}
    return compute.describe(used, arms)


def open_arms(sweep: Sweep) -> frozenset[str]:
    """The arms of all claims that a look may still decide; without declared looks, every arm."""
    if read_declared(sweep).looks is None:
        return frozenset(sweep.arms)
    if sweep.bases:
        claims = read_across(sweep, [Runs(part) for part in parts_of(sweep)])
        return frozenset(
            arm for claim in _open(claims) for case in claim.cases for arm in case.claim.arms
        )
    return frozenset(arm for case in _open(read_cases(Runs(sweep))) for arm in case.claim.arms)


def _open(claims: Sequence[AnyCase]) -> list[AnyCase]:
    return [claim for claim in claims if verdict_of(claim, family_of(claim, claims)) == "open"]


def _judged(
    sweep: Sweep,
    case: Case,
    family: Sequence[Case],
    audit: Audit | None,
    *,
    compute: Compute,
    bases: int = 0,
) -> ClaimVerdict:
    claim, outcome = case.claim, case.outcome
    verdict = verdict_of(case, family)
    power = _power(case, len(family), is_inconclusive=verdict == "inconclusive")
    endpoints = [_endpoint(case, at, family, power) for at in range(len(outcome.endpoints))]
    grade, reasons = graded(claim, seed_marks(case.plan), audit)
    least = adjusted_p(case, family, case.smallest_p)
    finding = Finding(case, verdict, endpoints, len(family), least, bases)
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
        "look": case.stage.describe() if case.stage else None,
        "endpoints": endpoints,
        "compute": _spent(compute, [case]),
    }


def _endpoint(
    case: Case, at: int, family: Sequence[Case], power: tuple[float | None, int | None]
) -> EndpointVerdict:
    """One endpoint as plain data; what cannot be computed from so few pairs is null."""
    claim, endpoint = case.claim, case.outcome.endpoints[at]
    differences, n = endpoint.differences, len(case.outcome.seeds)
    test = case.test(endpoint)
    p = case.by_endpoint[at].p if case.is_tested else None
    margin = (claim.margin or 0.0) if claim.is_equivalence else 0.0
    is_inside = (
        case.by_endpoint[at].for_claim if p is not None else n and abs(test.estimate) < margin
    )
    tail = ALPHA if claim.is_equivalence and is_inside else ALPHA / 2
    null = null_of(claim, endpoint)
    nulls = (-margin, margin) if claim.is_equivalence else (null,)
    interval: Interval = {"interval": None}
    if n:
        interval = stated_interval(test.interval(tail, nulls))
    detectable, needed = power
    deviation = known_deviation(differences)
    gains = differences if endpoint.higher_is_better else -differences
    is_mean = claim.test == "mean"
    examples = endpoint.example_differences if n >= 2 and is_mean else None
    one, other = endpoint.sides
    return {
        "endpoint": endpoint.name,
        "unit": endpoint.unit,
        "effect": test.estimate if n else None,
        **interval,
        "confidence": 1 - 2 * tail,
        "null": None if claim.is_equivalence else null,
        "method": METHODS[claim.test] + " over looks" * (case.stage is not None) if n else None,
        "other_intervals": other_intervals(differences) if n >= 2 and is_mean else {},
        "skewness": skewness(differences),
        "is_skewed": is_mean and is_skewed(differences),
        "p": p,
        "p_adjusted": None if p is None else adjusted_p(case, family, p),
        "needed_n": needed,
        "minimum_detectable_effect": None
        if detectable is None or deviation is None
        else detectable * deviation,
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


def _power(case: Case, family: int, *, is_inconclusive: bool) -> tuple[float | None, int | None]:
    """The effect that the claim's seeds can find, and the number of seeds that would decide it.

    Returns:
        The smallest detectable effect, beyond the margin if the claim has one, in standard
        deviations of each endpoint's differences; and the number of seeds that would decide an
        inconclusive claim, if effects, spread and the correlation of the endpoints are as seen.
        Both are of the test of a fixed number of seeds, also where looks are declared. None: there
        is none, or too few pairs to tell.
    """
    claim, n = case.claim, len(case.outcome.seeds)
    if n < 2:
        return None, None
    margin = claim.margin if claim.is_equivalence else 0.0
    rows = [endpoint.differences - null_of(claim, endpoint) for endpoint in case.outcome.endpoints]
    effects = np.array([LocationTest(row, claim.test).estimate for row in rows])
    deviations = np.array([row.std(ddof=1) for row in rows])
    known = Design(
        alpha=ALPHA / family,
        correlation=correlation_matrix(rows, [-1.0 if effect < 0 else 1.0 for effect in effects]),
        equivalence=claim.is_equivalence,
        test=claim.test,
    )
    detectable = minimum_detectable_effect(n, known)
    estimates = {endpoint.estimate_agrees for endpoint in case.by_endpoint}
    is_contradicted = any(endpoint.is_contradicted for endpoint in case.by_endpoint)
    if not is_inconclusive or len(estimates) > 1 or is_contradicted:
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
