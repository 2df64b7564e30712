"""Words for a claim and for what became of it: the core of its title and of its sentence."""

from typing import Protocol


class Comparison(Protocol):
    """What the words are made of: see `claims.RecordedClaim`."""

    @property
    def sides(self) -> tuple[str, str]:
        """The two things that are compared."""

    @property
    def direction(self) -> str:
        """One of `records.DIRECTIONS`."""

    @property
    def margin(self) -> float | None:
        """The margin, if there is one."""


def describe_claim(claim: Comparison) -> str:
    """`relu worse than none`, `relu not worse than none within 0.01`."""
    one, other = claim.sides
    if claim.direction == "equivalent":
        return f"{one} equivalent to {other} {_within(claim)}"
    return f"{one} {_relation(claim)}"


def state_verdict(claim: Comparison, verdict: str) -> str:
    """`relu was worse than none`, or what else the verdict on the claim is, in the past tense."""
    one, other = claim.sides
    if claim.direction == "equivalent":
        if verdict == "inconclusive":
            return f"it is open whether {one} and {other} are equivalent {_within(claim)}"
        said = f"{one} and {other} were {{}}equivalent {_within(claim)}"
        return _either(said.format(""), said.format("not "), verdict)
    if verdict == "inconclusive":
        return f"it is open whether {one} is {_relation(claim)}"
    if claim.direction == "not_worse":
        opposite = f"{one} was worse than {other} by more than {claim.margin:g}"
    elif claim.margin is not None:
        opposite = f"{one} was not {_relation(claim)}"
    else:
        opposite = f"{one} was {'worse' if claim.direction == 'better' else 'better'} than {other}"
    return _either(f"{one} was {_relation(claim)}", opposite, verdict)


def _either(supported: str, opposite: str, verdict: str) -> str:
    return f"{opposite}, the opposite of the claim" if verdict == "opposite" else supported


def _relation(claim: Comparison) -> str:
    """`better than none`, `… by at least 0.01`, or `not worse than none within 0.01`."""
    _, other = claim.sides
    if claim.direction == "not_worse":
        return f"not worse than {other} {_within(claim)}"
    by = "" if claim.margin is None else f" by at least {claim.margin:g}"
    return f"{claim.direction} than {other}{by}"


def _within(claim: Comparison) -> str:
    return f"within {claim.margin:g}"
