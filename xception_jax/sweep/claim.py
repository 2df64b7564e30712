"""A claim of an experiment: what is compared, in which direction and by which endpoints."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from xception_jax.errors import InputError, require_choice
from xception_jax.records import DIRECTIONS, ENDPOINTS, NEED_MARGIN, STEPS_TO_TARGET, TESTS

_OPTIONAL = ("target", "pilot_seeds", "versus", "at", "over", "baselines", "scores")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The terms that claims of every kind may declare: margin, target, pilot seeds and test.

    Attributes:
        margin: positive, in units of the endpoint: "equivalent" within it, "not_worse" by as much,
            and, if given, "better" or "worse" by at least as much.
        target: validation accuracy of "steps_to_target", the same for all claims of an experiment;
            where it has several bases, one for each by name; None: 95% of what all runs of the
            sweep, or of a base, reach on average at their end.
        pilot_seeds: number of first seeds that give the target and are then not tested, the same
            for all claims of an experiment.
        test: "mean": a sign-flip test of the mean difference, exact where the differences are
            symmetric about it; "median": a sign test of the median, exact for any differences.
    """

    margin: float | None = None
    target: float | Mapping[str, float] | None = None
    pilot_seeds: int = 0
    test: str = TESTS[0]

    def require_terms(self, direction: str, endpoints: tuple[str, ...]) -> None:
        """Raises `InputError` unless a claim with these terms can be judged.

        Args:
            direction: direction of the claim.
            endpoints: endpoints of the claim.
        """
        require_choice("claim.direction", direction, DIRECTIONS)
        require_choice("claim.test", self.test, TESTS)
        _require_endpoints(endpoints)
        if self.margin is not None and STEPS_TO_TARGET in endpoints and len(endpoints) > 1:
            raise InputError("claim.endpoints", endpoints, "have units that share no margin")
        if direction in NEED_MARGIN and self.margin is None:
            raise InputError("claim.margin", None, f"is needed by direction={direction!r}")
        if self.margin is not None and not (is_number(self.margin) and 0 < self.margin < math.inf):
            raise InputError("claim.margin", self.margin, "must be a positive number")
        if type(self.pilot_seeds) is not int or self.pilot_seeds < 0:
            raise InputError("claim.pilot_seeds", self.pilot_seeds, "must be a whole number", 0)
        if (self.target is not None or self.pilot_seeds) and STEPS_TO_TARGET not in endpoints:
            raise InputError(
                "claim.target", self.target, f"goes with {STEPS_TO_TARGET!r}, and only with it"
            )
        require_target("claim.target", self.target)
        if self.target is not None and self.pilot_seeds:
            raise InputError("claim.pilot_seeds", self.pilot_seeds, "the target is given already")


@dataclass(frozen=True)
class Claim(Terms):
    """A contrast between two arms, or an interaction of four, decided before the runs.

    Attributes:
        arm: the arm that the claim is about.
        baseline: the arm with which it is compared.
        direction: "better", "worse", "equivalent" or "not_worse".
        endpoints: the endpoints that are compared; the claim must hold for all of them.
        versus: two more arms: the claim is then that arm − baseline is better, worse, or
            equivalent, compared with the difference of these two.
    """

    arm: str
    baseline: str
    direction: str = "better"
    endpoints: tuple[str, ...] = ("final_top1",)
    versus: tuple[str, str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for arm in (self.arm, self.baseline):
            if not isinstance(arm, str):
                raise InputError("claim", arm, "must be the name of an arm")
        self.require_terms(self.direction, self.endpoints)
        versus: Any = self.versus
        two = isinstance(versus, (tuple, list)) and len(versus) == 2 and versus[0] != versus[1]
        if versus is not None and not (two and all(isinstance(arm, str) for arm in versus)):
            raise InputError("claim.versus", self.versus, "must be two arms")
        if self.arm == self.baseline:
            raise InputError("claim.baseline", self.baseline, "is the claim's own arm")
        if self.versus is not None and tuple(self.versus) == (self.arm, self.baseline):
            raise InputError("claim.versus", self.versus, "is the claim's own contrast")

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that are compared, two or four."""
        return (self.arm, self.baseline, *(self.versus or ()))

    def bind(self, _factors: object) -> "Claim":
        """The claim itself, which names its arms, whatever the factors of the experiment."""
        return self

    def describe(self) -> dict[str, Any]:
        """The claim as plain data, without the optional fields that are not set."""
        return describe_terms(self)


def describe_terms(claim: Terms) -> dict[str, Any]:
    """The fields of a claim as plain data, without the optional ones that are not set."""
    content = asdict(claim)
    for term in fields(Terms):  # behind the claim's own fields
        content[term.name] = content.pop(term.name)
    if claim.test == TESTS[0]:
        del content["test"]
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in content.items()
        if value or name not in _OPTIONAL
    }


def _require_endpoints(names: Any) -> None:
    if not isinstance(names, (tuple, list)) or not names:
        near = (names,) if names in ENDPOINTS else None
        raise InputError("claim.endpoints", names, "must be a tuple of endpoints", near)
    for endpoint in names:
        require_choice("claim.endpoints", endpoint, ENDPOINTS)
    if len(set(names)) < len(names):
        once = tuple(dict.fromkeys(names))
        raise InputError("claim.endpoints", names, "names an endpoint twice", once)


def is_number(value: Any) -> bool:
    """Whether a value is an integer or a float, and no bool, which Python counts as an integer."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def require_target(name: str, target: Any) -> None:
    """Raises `InputError` unless `target` is None, an accuracy between 0 and 1, or several."""
    targets = target.values() if isinstance(target, Mapping) else [target] * (target is not None)
    if not all(is_number(accuracy) and 0 < accuracy < 1 for accuracy in targets):
        raise InputError(name, target, "must be between 0 and 1")
