"""Claims that a number of seeds can decide at all: a forecast before anything is trained.

The sign-flip test of few differences has a smallest p-value. Where that, adjusted for the number of
claims, does not lie below 5%, no effect is large enough for a verdict.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from xception_jax.records import FEWEST_PAIRS, SPENDING_NAMES
from xception_jax.statistics.claims import RecordedClaim, bases_factor, read_claim
from xception_jax.statistics.location import smallest_p
from xception_jax.statistics.looks import Looks, Stage
from xception_jax.statistics.paired import holm
from xception_jax.statistics.power import ALPHA

_MOST = 64  # pairs; with as many the smallest p is 1e-19


def describe_decidable(
    claims: Sequence[Mapping[str, Any]],
    arms: Collection[str],
    seeds: int,
    looks: Looks | None = None,
) -> list[str]:
    """Lines that say which of the claims so many seeds can decide; empty where there is no claim.

    Args:
        claims: the claims, as `Claim.describe` gives them.
        arms: the arms of the experiment, by the names that claims use.
        seeds: number of seeds.
        looks: the declared looks, the last of which is at `seeds`; None: there are none.
    """
    read = [read_claim(content, arms=arms) for content in claims]
    if not read:
        return []
    if looks is None:
        return [_line(read, seeds)]
    spending = SPENDING_NAMES[looks.spending]
    lines = [f"looks at {_list(looks.counts)} seeds, by {spending} spending function:"]
    for number, count in enumerate(looks.counts, 1):
        stages = [Stage(looks, number, claim.pilot_seeds) for claim in read]
        least = [
            min(1.0, bases_factor(claim) * stage.smallest_p(one_sided=claim.is_equivalence))
            for claim, stage in zip(read, stages, strict=True)
        ]
        pairs = count - min(claim.pilot_seeds for claim in read)
        lines.append(f"  {_summary(count, least, pairs=pairs)}")
    return lines


def _line(claims: Sequence[RecordedClaim], seeds: int) -> str:
    pairs = seeds - min(claim.pilot_seeds for claim in claims)
    summary = _summary(seeds, _smallest(claims, seeds), pairs=pairs)
    pilot = max(claim.pilot_seeds for claim in claims)  # on which that claim is not tested
    numbers = range(pilot + FEWEST_PAIRS, pilot + _MOST)
    enough = next(n for n in numbers if _count_decidable(_smallest(claims, n)) == len(claims))
    return summary if enough <= seeds else f"{summary}; {enough} seeds can decide every claim"


def _smallest(claims: Sequence[RecordedClaim], seeds: int) -> list[float]:
    """The least p that each claim can have."""
    pairs = [max(0, seeds - claim.pilot_seeds) for claim in claims]
    return [
        min(1.0, bases_factor(claim) * smallest_p(n, one_sided=claim.is_equivalence))
        if n >= FEWEST_PAIRS
        else 1.0
        for claim, n in zip(claims, pairs, strict=True)
    ]


def _count_decidable(least: Sequence[float]) -> int:
    """The number of claims whose least p, Holm-adjusted, is below 5%."""
    return int((holm(least) < ALPHA).sum())


def _summary(seeds: int, least: Sequence[float], *, pairs: int) -> str:
    """`8 seeds can decide every claim, …`, from the least p of each and the most pairs of any."""
    count, decided, smallest = len(least), _count_decidable(least), min(holm(least))
    subject = "the claim" if count == 1 else f"any of the {count} claims"
    noun = "seed" if seeds == 1 else "seeds"
    if pairs < FEWEST_PAIRS:
        return f"{seeds} {noun} can decide nothing: a verdict takes {FEWEST_PAIRS} pairs or more"
    adjusted = "" if count == 1 else f", adjusted for {count} claims"
    p = f"the smallest p is {smallest:.3g}{adjusted}"
    if not decided:
        return f"{seeds} {noun} cannot decide {subject}: {p}"
    if decided < count:
        return f"{seeds} {noun} can decide {decided} of the {count} claims: {p}"
    return f"{seeds} {noun} can decide {'the claim' if count == 1 else 'every claim'}: {p}"


def _list(counts: Sequence[int]) -> str:
    return f"{', '.join(map(str, counts[:-1]))} and {counts[-1]}"
