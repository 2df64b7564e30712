"""Effects that a planned sweep can detect, worked out before it is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xception_jax.statistics.claims import read_claim
from xception_jax.statistics.endpoints import Runs, measure
from xception_jax.statistics.power import ALPHA, minimum_detectable_effect
from xception_jax.statistics.results import Sweep


@dataclass(frozen=True)
class Detectable:
    """The smallest effect that one endpoint of a claim can show with the planned seeds.

    Attributes:
        effect: found with a probability of 80%, or of an equivalence the margin that can be shown;
            None where so few seeds cannot reach the level, whatever the effect.
        unit: of `effect`: the endpoint's, or the standard deviation of the paired differences.
        pilot_pairs: from which the standard deviation comes; 0: it is not known.
    """

    claim: str
    endpoint: str
    seeds: int
    effect: float | None
    unit: str
    pilot_pairs: int


def detectable_effects(
    claims: Sequence[Mapping[str, Any]],
    arms: Mapping[str, Any],
    seeds: int,
    pilot: Sweep | None = None,
) -> list[Detectable]:
    """The minimum detectable effect of every claim and endpoint, adjusted for all claims.

    Args:
        claims: as `Claim.describe` gives them.
        arms: of the experiment.
        seeds: that are planned.
        pilot: a sweep with the same arms, whose spread is taken for that of the planned one.
    """
    runs = Runs(pilot) if pilot else None
    rows = []
    for content in claims:
        claim = read_claim(content, arms=arms)
        n = seeds - claim.pilot_seeds
        measured = {}
        if runs is not None:
            endpoints = measure(runs, replace(claim, pilot_seeds=0)).endpoints
            measured = {each.name: each for each in endpoints if each.deviation is not None}
        for name in claim.endpoints:
            known = measured.get(name)
            effect = minimum_detectable_effect(
                n,
                1.0 if known is None else known.deviation or 0.0,
                equivalence=claim.margin is not None,
                alpha=ALPHA / len(claims),
            )
            unit = "standard deviations" if known is None else known.unit
            pairs = 0 if known is None else known.differences.size
            rows.append(Detectable(claim.title, name, n, effect, unit, pairs))
    return rows
