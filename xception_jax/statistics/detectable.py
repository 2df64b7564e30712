"""Effects that a planned sweep can detect, worked out before it is run."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xception_jax.records import FEWEST_PAIRS, NEED_MARGIN
from xception_jax.statistics.bases import on_base
from xception_jax.statistics.claims import RecordedClaim, bases_factor, read_claim
from xception_jax.statistics.endpoints import Measured, measure
from xception_jax.statistics.looks import Looks, Stage
from xception_jax.statistics.power import (
    ALPHA,
    Design,
    correlation_matrix,
    equal_correlation,
    known_deviation,
    minimum_detectable_effect,
    power_error,
)
from xception_jax.statistics.power_at_looks import detectable_at_looks, power_error_at_looks
from xception_jax.statistics.results import Base, Sweep
from xception_jax.statistics.runs import Runs

HIGHEST_CORRELATION = 0.9
"""Of the range of correlations that is assumed where no pilot tells it; the lowest is 0."""


@dataclass(frozen=True)
class Detectable:
    """The smallest effect of one endpoint with which a claim is decided in 80 of 100 sweeps.

    All endpoints of the claim have effects of as many standard deviations.

    Attributes:
        claim: title of the claim.
        endpoint: name of the endpoint.
        seeds: number of seeds that are tested.
        effect: the effect; for `equivalent` and `not_worse` the margin that can be shown of arms
            that do not differ; for `better` and `worse` by a margin what the effect must be beyond
            it; None where so few seeds cannot reach the level, whatever the effect.
        effect_if_correlated: where the endpoints' correlation is not known, and `effect` is for
            none: the effect if it is `HIGHEST_CORRELATION`; else `effect`.
        unit: unit of `effect`: the endpoint's, or the standard deviation of paired differences.
        pilot_pairs: from which the standard deviation comes; 0: it is not known.
        alike_pairs: pairs of a pilot that tell no deviation, since their differences are all alike.
        alpha: level of the test, which Holm's method asks of the first of all claims.
        power_error: Monte Carlo standard error of the power.
        is_on_a_base: whether it is the effect on one of several bases.
    """

    claim: str
    endpoint: str
    seeds: int
    effect: float | None
    effect_if_correlated: float | None
    unit: str
    pilot_pairs: int
    alpha: float
    power_error: float
    alike_pairs: int = 0
    is_on_a_base: bool = False


def detectable_effects(
    claims: Sequence[Mapping[str, Any]],
    arms: Mapping[str, Any],
    seeds: int,
    pilot: Sweep | None = None,
    bases: Mapping[str, Mapping[str, str]] | None = None,
    *,
    looks: Looks | None = None,
) -> list[Detectable]:
    """The minimum detectable effect of every claim and endpoint, adjusted for all claims.

    Of a claim over several bases, it is that on each base by itself.

    Args:
        claims: the claims, as `Claim.describe` gives them.
        arms: the arms of the experiment.
        seeds: number of planned seeds.
        pilot: a sweep with the same arms, whose spread, and correlation of the endpoints from
            `FEWEST_PAIRS` pairs on, are taken for those of the planned one.
        bases: for each of several bases, by the name that claims use, the arm on it.
        looks: the declared looks, the last of which is at `seeds`; None: there are none.
    """
    rows = []
    on_bases: list[Base | None]
    on_bases = [Base(name, arms_on_it) for name, arms_on_it in (bases or {}).items()] or [None]
    for content, base in itertools.product(claims, on_bases):
        claim = read_claim(content, arms=arms, base=base)
        endpoints: tuple[Measured, ...] = ()
        if pilot is not None:
            runs = Runs(pilot if base is None else on_base(pilot, base))
            endpoints = measure(runs, replace(claim, pilot_seeds=0)).endpoints
        n = seeds - claim.pilot_seeds
        pairs = {endpoint.name: endpoint for endpoint in endpoints}
        deviations = {
            name: known_deviation(endpoint.differences) for name, endpoint in pairs.items()
        }
        measured = {
            name: endpoint for name, endpoint in pairs.items() if deviations[name] is not None
        }
        alpha = ALPHA / len(claims) / bases_factor(claim)
        stage = None if looks is None else Stage(looks, len(looks.counts), claim.pilot_seeds)
        least, most = (_detectable(n, design, stage) for design in _designs(claim, alpha, measured))
        for name in claim.endpoints:
            known, scale = measured.get(name), deviations.get(name) or 1.0
            unit = "standard deviations" if known is None else known.unit
            alike = pairs[name].differences.size if name in pairs and known is None else 0
            beyond = claim.margin is not None and claim.direction not in NEED_MARGIN
            unit += " beyond the margin" * beyond
            rows.append(
                Detectable(
                    claim=claim.title,
                    endpoint=name,
                    seeds=n,
                    effect=None if most is None else most * scale,
                    effect_if_correlated=None if least is None else least * scale,
                    unit=unit,
                    pilot_pairs=0 if known is None else known.differences.size,
                    alpha=alpha,
                    power_error=power_error(n) if stage is None else power_error_at_looks(),
                    alike_pairs=alike if alike > 1 else 0,
                    is_on_a_base=base is not None,
                )
            )
    return rows


def _detectable(n: int, design: Design, stage: Stage | None) -> float | None:
    """The minimum detectable effect of n seeds, or of all looks at them."""
    if stage is None:
        return minimum_detectable_effect(n, design)
    return detectable_at_looks(stage.design, design)


def _designs(
    claim: RecordedClaim, alpha: float, measured: Mapping[str, Measured]
) -> tuple[Design, Design]:
    """The claim's design with the highest and the lowest correlation that its endpoints may have.

    A claim has its endpoints move in its direction; an equivalence, whose effects are zero, moves
    them in none.
    """
    count = len(claim.endpoints)
    both = [measured[name] for name in claim.endpoints if name in measured]
    if len(both) == count and both[0].differences.size >= FEWEST_PAIRS:
        is_signed = not claim.is_equivalence
        signs = [1.0 if one.higher_is_better or not is_signed else -1.0 for one in both]
        correlations = [correlation_matrix([one.differences for one in both], signs)] * 2
    else:
        values = (HIGHEST_CORRELATION, 0.0) if count > 1 else (0.0, 0.0)
        correlations = [equal_correlation(count, value) for value in values]
    high, low = (
        Design(alpha, correlation, equivalence=claim.is_equivalence, test=claim.test)
        for correlation in correlations
    )
    return high, low
