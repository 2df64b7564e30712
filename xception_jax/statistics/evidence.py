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
        p: the p-value for the side that more speaks for.
        side: whether that is the claim's side, and not its opposite.
        estimate: whether the estimate is on the claim's side; of a single endpoint.
    """

    p: float = 1.0
    side: bool = True
    estimate: bool = True

    def p_on(self, *, side: bool) -> float:
        """The p-value for the claim (`side`) or for its opposite: 1 where the other has more."""
        return self.p if side == self.side else 1.0

    @property
    def is_contradicted(self) -> bool:
        """Whether the estimate is on the side that p, not adjusted, speaks against."""
        return self.p < ALPHA and self.side != self.estimate


def weigh(p_for: float, p_opposite: float, *, estimate: bool, one_sided: bool = False) -> Evidence:
    """The evidence of a claim's test and that of its opposite.

    Args:
        p_for: p-value for the claim.
        p_opposite: p-value for its opposite, which is two-sided: twice that of one side.
        estimate: whether the estimate is on the claim's side, which decides ties.
        one_sided: whether `p_for` is that of a one-sided test, not doubled.
    """
    doubled = min(1.0, 2 * p_for) if one_sided else p_for
    side = estimate if doubled == p_opposite else doubled < p_opposite
    return Evidence(p_for if side else p_opposite, side, estimate)


def combine(parts: Sequence[Evidence], at_least: int) -> Evidence:
    """The evidence that a claim holds in at least so many of its parts: endpoints or bases.

    The opposite needs as many parts as refute that: see `parts_for_opposite`. So there is never
    evidence for both.
    """
    p_for = partial_conjunction([part.p_on(side=True) for part in parts], at_least)
    count = parts_for_opposite(len(parts), at_least)
    p_opposite = partial_conjunction([part.p_on(side=False) for part in parts], count)
    return Evidence(min(p_for, p_opposite), p_for <= p_opposite)


def parts_for_opposite(parts: int, at_least: int) -> int:
    """The number of parts with the opposite of a claim that make it the opposite of the whole.

    They are as many as the claim asks for, and so many that too few are left for the claim.
    """
    return max(at_least, parts - at_least + 1)
