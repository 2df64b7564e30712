"""Evidence for a claim or for its opposite: one p-value, and the side that it speaks for.

A claim and its opposite have a one-sided test each. What is shown and what is decided comes from
both together, here and nowhere else: the side is that of the smaller one-sided p-value, and the
p-value is that side's. Where differences are looked at once, this is the side of the estimate. Over
several looks it need not be, since a p-value is the smallest of all looks so far and the estimate
is that of the last one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from xception_jax.statistics.paired import partial_conjunction
from xception_jax.statistics.power import ALPHA


@dataclass(frozen=True)
class Evidence:
    """What tests say of a claim; without arguments: nothing.

    Attributes:
        p: the p-value for the claim or for its opposite, whichever has more for it.
        for_claim: whether it is for the claim, and not for its opposite.
        estimate_agrees: whether the estimate is on the claim's side; of a single endpoint.
    """

    p: float = 1.0
    for_claim: bool = True
    estimate_agrees: bool = True

    def p_on(self, *, for_claim: bool) -> float:
        """The p-value for the claim, or else for its opposite: 1 where the other has more."""
        return self.p if for_claim == self.for_claim else 1.0

    @property
    def is_contradicted(self) -> bool:
        """Whether the estimate is on the side that p, not adjusted, speaks against."""
        return self.p < ALPHA and self.for_claim != self.estimate_agrees


def weigh(
    p_for: float, p_opposite: float, *, estimate_agrees: bool, one_sided: bool = False
) -> Evidence:
    """The evidence of a claim's test and that of its opposite.

    Args:
        p_for: p-value for the claim.
        p_opposite: p-value for its opposite, which is two-sided: twice that of one side.
        estimate_agrees: whether the estimate is on the claim's side, which decides ties.
        one_sided: whether `p_for` is that of a one-sided test, not doubled.
    """
    doubled = min(1.0, 2 * p_for) if one_sided else p_for
    for_claim = estimate_agrees if doubled == p_opposite else doubled < p_opposite
    return Evidence(p_for if for_claim else p_opposite, for_claim, estimate_agrees)


def combine(parts: Sequence[Evidence], at_least: int) -> Evidence:
    """The evidence that a claim holds in at least so many of its parts: endpoints or bases.

    The opposite needs as many parts as refute that: see `parts_for_opposite`. So there is never
    evidence for both.
    """
    p_for = partial_conjunction([part.p_on(for_claim=True) for part in parts], at_least)
    count = parts_for_opposite(len(parts), at_least)
    p_opposite = partial_conjunction([part.p_on(for_claim=False) for part in parts], count)
    return Evidence(min(p_for, p_opposite), p_for <= p_opposite)


def parts_for_opposite(parts: int, at_least: int) -> int:
    """The number of parts with the opposite of a claim that make it the opposite of the whole.

    They are as many as the claim asks for, and so many that too few are left for the claim.
    """
    return max(at_least, parts - at_least + 1)
