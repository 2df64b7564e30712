"""Words for a claim and for its verdict: the core of its title and of its sentence."""

from typing import Protocol

from xception_jax.statistics.contrasts import Contrast

_REVERSE = {"better": "worse", "worse": "better"}
_UNDECIDED = ("inconclusive", "open")


class ClaimTerms(Protocol):
    """The part of a `claims.RecordedClaim` that says what it claims of its contrast."""

    @property
    def direction(self) -> str:
        """One of `records.DIRECTIONS`."""

    @property
    def margin(self) -> float | None:
        """The margin, if there is one."""


def describe_claim(contrast: Contrast, claim: ClaimTerms) -> str:
    """The claim in words: `relu not worse than none within 0.01`, `better along a → b → c`."""
    one, other = contrast.sides
    if contrast.is_trend:
        return _relation(contrast, claim)
    if claim.direction == "equivalent":
        return f"{one} equivalent to {other} {_within(claim)}{contrast.where}"
    return f"{one} {_relation(contrast, claim)}"


def state_verdict(contrast: Contrast, claim: ClaimTerms, verdict: str) -> str:
    """The verdict on the claim in words and in the past tense: `relu was worse than none`."""
    one, other = contrast.sides
    relation, where = _relation(contrast, claim), contrast.where
    if contrast.is_trend:
        if verdict in _UNDECIDED:
            return f"it is open whether results get {relation}"
        reverse = f"results got {_REVERSE.get(claim.direction, '')} along {contrast.name}"
        return _either(f"results got {relation}", reverse, verdict)
    if claim.direction == "equivalent":
        within = f"{_within(claim)}{where}"
        if verdict in _UNDECIDED:
            return f"it is open whether {one} and {other} are equivalent {within}"
        pair = f"{one} and {other} were"
        return _either(f"{pair} equivalent {within}", f"{pair} not equivalent {within}", verdict)
    if verdict in _UNDECIDED:
        return f"it is open whether {one} is {relation}"
    if claim.direction == "not_worse":
        opposite = f"{one} was worse than {other} by more than {claim.margin:g}{where}"
    elif claim.margin is not None:
        opposite = f"{one} was not {relation}"
    else:
        opposite = f"{one} was {_REVERSE[claim.direction]} than {other}{where}"
    return _either(f"{one} was {relation}", opposite, verdict)


def _either(supported: str, opposite: str, verdict: str) -> str:
    return f"{opposite}, the opposite of the claim" if verdict == "opposite" else supported


def _relation(contrast: Contrast, claim: ClaimTerms) -> str:
    """The claimed relation: `better than none by at least 0.01`, `not worse than none within …`."""
    _, other = contrast.sides
    if contrast.is_trend:
        return f"{claim.direction} along {contrast.name}"
    if claim.direction == "not_worse":
        return f"not worse than {other} {_within(claim)}{contrast.where}"
    by = "" if claim.margin is None else f" by at least {claim.margin:g}"
    return f"{claim.direction} than {other}{by}{contrast.where}"


def _within(claim: ClaimTerms) -> str:
    return f"within {claim.margin:g}"
