"""Simulated verdicts over several bases: how often one is wrong, over all and on any base."""

import numpy as np
import pytest

from tests.statistics.enumeration import sign_flip_p_values
from xception_jax.statistics.across import ClaimOverBases, with_ceilings
from xception_jax.statistics.cases import Case, adjusted_p, family_of, verdict_of
from xception_jax.statistics.claims import RecordedClaim
from xception_jax.statistics.declared import Plan
from xception_jax.statistics.endpoints import Outcome
from xception_jax.statistics.evidence import Evidence


def judged_p_values(
    p_values: np.ndarray, positive: np.ndarray, at_least: int
) -> tuple[list[str], list[list[bool]]]:
    """The verdicts over all bases, and whether each base is significant, of p-values by base.

    Args:
        p_values: [claims, bases], two-sided.
        positive: whether each effect is on the claim's side.
        at_least: number of bases that a claim needs.
    """
    claims, bases = p_values.shape
    found = [
        ClaimOverBases(
            claim := RecordedClaim({"claim": row}, post_hoc=False),
            tuple("abcdefgh"[:bases]),
            at_least,
            tuple(
                Case(claim, Outcome(), Plan(), (Evidence(float(p), bool(side)),))
                for p, side in zip(p_values[row], positive[row], strict=True)
            ),
        )
        for row in range(claims)
    ]
    found = with_ceilings(found)
    cases = [case for each in found for case in each.cases]
    over_all = [verdict_of(each, family_of(each, found)) for each in found]
    on_bases = [
        [adjusted_p(case, cases, case.evidence.p) < 0.05 for case in each.cases] for each in found
    ]
    return over_all, on_bases


SEEDS, CLAIMS = 8, 2


def errors(
    rng: np.random.Generator, sweeps: int, *, bases: int, at_least: int, true: int, shared: bool
) -> tuple[float, float]:
    """Shares of sweeps in which a verdict over all bases is wrong, and in which any verdict is.

    Both claims have an effect on `true` of the bases, fewer than `at_least`. They have none on the
    others, which may share their differences.
    """
    shape = (sweeps, CLAIMS, bases, SEEDS)
    differences = rng.standard_t(3, shape)
    if shared:
        differences[:, :, true:] = differences[:, :, true : true + 1]
    differences[:, :, :true] += 100.0
    p_values = sign_flip_p_values(differences.reshape(-1, SEEDS)).reshape(shape[:3])
    positive = differences.mean(axis=3) >= 0
    wrong_over_all = wrong_at_all = 0
    for p, side in zip(p_values, positive, strict=True):
        over_all, on_bases = judged_p_values(p, side, at_least)
        is_wrong = any(verdict != "inconclusive" for verdict in over_all)
        wrong_over_all += is_wrong
        wrong_at_all += is_wrong or any(any(row[true:]) for row in on_bases)
    return wrong_over_all / sweeps, wrong_at_all / sweeps


PARTIAL_NULLS = [(2, 2, 1), (3, 3, 2), (3, 2, 1), (3, 2, 0), (3, 3, 0), (3, 1, 0), (4, 2, 1)]


@pytest.mark.parametrize("shared", [False, True], ids=["independent", "the same noise"])
@pytest.mark.parametrize(("bases", "at_least", "true"), PARTIAL_NULLS[:3])
def test_few_sweeps_without_the_effect_are_decided(
    rng: np.random.Generator, bases: int, at_least: int, true: int, shared: bool
) -> None:
    sweeps = 400
    rates = errors(rng, sweeps, bases=bases, at_least=at_least, true=true, shared=shared)
    assert max(rates) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / sweeps)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True], ids=["independent", "the same noise"])
@pytest.mark.parametrize(("bases", "at_least", "true"), PARTIAL_NULLS)
def test_the_error_over_claims_and_bases_is_five_percent(
    rng: np.random.Generator, bases: int, at_least: int, true: int, shared: bool
) -> None:
    """Verdicts over all bases, and any, err in 5% of sweeps, with k - 1 true bases or none."""
    sweeps = 10_000
    rates = errors(rng, sweeps, bases=bases, at_least=at_least, true=true, shared=shared)
    print(f"{at_least} of {bases}, {true} true: {rates[0]:.4f} over all, {rates[1]:.4f} at all")
    assert max(rates) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / sweeps)  # standard error 0.2%
