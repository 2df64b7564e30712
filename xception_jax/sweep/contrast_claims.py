"""Claims about more arms than two: effects and interactions of factors, and trends.

Each comes down to a contrast, weights over arms, which `sweep.json` records with the claim.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from xception_jax.errors import InputError, require_choice
from xception_jax.statistics.factorial import factorial_weights
from xception_jax.sweep.claim import Claim, Terms, describe_terms, is_number
from xception_jax.sweep.factors import Factors, find_level


@dataclass(frozen=True)
class Effect(Terms):
    """The effect of a factor: one of its levels compared with another.

    Attributes:
        factor: name of the factor.
        level: the level that the claim is about, by its name or value; of two levels the second.
        baseline: the level with which it is compared; by default the first.
        direction: "better", "worse", "equivalent" or "not_worse".
        endpoints: the endpoints that are compared; the claim must hold for all of them.
        at: levels of other factors at which the effect is meant, a simple effect; it is averaged
            over the levels of all factors that are not named.
        over: the factors that it is averaged over; set by the experiment.
        weights: weights of the arms; set by the experiment.
    """

    factor: str
    level: Any = None
    baseline: Any = None
    direction: str = "better"
    endpoints: tuple[str, ...] = ("final_top1",)
    at: Mapping[str, Any] = field(default_factory=dict)
    over: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_names("claim.factor", (self.factor,))
        _require_levels(self.at)
        self.require_terms(self.direction, self.endpoints)

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that are compared, once the experiment has set the weights."""
        return tuple(self.weights)

    def bind(self, factors: Factors) -> "Effect":
        """The claim with its levels by name, and its weights.

        Raises:
            InputError: the experiment has no such factor or level, or the levels are the same.
        """
        level, baseline = _compared(factors, self.factor, self.level, self.baseline)
        named = replace(self, level=level, baseline=baseline)
        return _with_weights(named, factors, {self.factor: (level, baseline)})

    def describe(self) -> dict[str, Any]:
        """The claim as plain data, without the optional fields that are not set."""
        return {"kind": "effect", **describe_terms(self)}


@dataclass(frozen=True)
class Interaction(Terms):
    """An interaction of factors: how the effect of one depends on the level of another.

    Of two factors it is the effect of the first at the level of the second, minus that effect at
    the baseline of the second. Of three it is the difference of two such interactions.

    Attributes:
        factors: names of two or more factors.
        levels: a level of each, by name or value; by default the second of two.
        baselines: the level of each with which that is compared; by default the first.
        direction: "better", "worse", "equivalent" or "not_worse".
        endpoints: the endpoints that are compared; the claim must hold for all of them.
        at: levels of other factors at which the interaction is meant, as in `Effect`.
        over: the factors that it is averaged over; set by the experiment.
        weights: weights of the arms; set by the experiment.
    """

    factors: tuple[str, ...]
    levels: tuple[Any, ...] = ()
    baselines: tuple[Any, ...] = ()
    direction: str = "better"
    endpoints: tuple[str, ...] = ("final_top1",)
    at: Mapping[str, Any] = field(default_factory=dict)
    over: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_names("claim.factors", self.factors)
        if len(self.factors) < 2:
            raise InputError("claim.factors", self.factors, "must be two factors or more")
        for name in ("levels", "baselines"):
            values: Any = getattr(self, name)
            if not isinstance(values, (tuple, list)) or len(values) not in (0, len(self.factors)):
                raise InputError(f"claim.{name}", values, "must be one for each factor")
        _require_levels(self.at)
        self.require_terms(self.direction, self.endpoints)

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that are compared, once the experiment has set the weights."""
        return tuple(self.weights)

    def bind(self, factors: Factors) -> "Interaction":
        """The claim with its levels by name, and its weights.

        Raises:
            InputError: the experiment has no such factor or level, or the levels are the same.
        """
        unset = (None,) * len(self.factors)
        chosen = zip(self.factors, self.levels or unset, self.baselines or unset, strict=True)
        compared = {name: _compared(factors, name, *pair) for name, *pair in chosen}
        levels, baselines = zip(*compared.values(), strict=True)
        named = replace(self, factors=tuple(self.factors), levels=levels, baselines=baselines)
        return _with_weights(named, factors, compared)

    def describe(self) -> dict[str, Any]:
        """The claim as plain data, without the optional fields that are not set."""
        return {"kind": "interaction", **describe_terms(self)}


@dataclass(frozen=True)
class Trend(Terms):
    """A trend over ordered arms: the slope of a straight line through what they reach.

    The slope is the contrast of each seed that is tested. It is above zero where results rise along
    the arms on the whole; they need not rise at every step.

    Attributes:
        arms: three or more, in their order.
        endpoints: the endpoints that are compared, one or several; the trend must hold for all.
        direction: "better" or "worse", along the order.
        baselines: one arm for each, which is subtracted from it: a trend of differences.
        scores: where the arms stand on the horizontal axis, increasing; by default 1, 2, 3, ….
    """

    arms: tuple[str, ...]
    endpoints: tuple[str, ...] | str = ("final_top1",)
    direction: str = "better"
    baselines: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        endpoints: Any = (self.endpoints,) if isinstance(self.endpoints, str) else self.endpoints
        object.__setattr__(self, "endpoints", endpoints)
        _require_names("claim.arms", self.arms)
        count = len(self.arms)
        if count < 3:
            raise InputError("claim.arms", self.arms, "must be three arms or more, in their order")
        if len(self.baselines) not in (0, count):
            raise InputError("claim.baselines", self.baselines, f"must be {count} arms, or none")
        if self.baselines:
            _require_names("claim.baselines", self.baselines, once=False)
        require_choice("claim.direction", self.direction, ("better", "worse"))
        if self.margin is not None:
            raise InputError("claim.margin", self.margin, "does not go with a trend")
        _require_scores(self.scores, count)
        self.require_terms(self.direction, endpoints)
        if not any(abs(weight) > _ROUNDING for weight in self.weights.values()):
            raise InputError("claim.baselines", self.baselines, "leave nothing to compare")

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the arms: those of the least-squares slope, per unit of the scores."""
        scores = [float(score) for score in self.scores or range(1, len(self.arms) + 1)]
        mean = sum(scores) / len(scores)
        spread = sum((score - mean) ** 2 for score in scores)
        weights: dict[str, float] = {}
        for at, score in enumerate(scores):
            slope = (score - mean) / spread
            for arm, sign in (
                (self.arms[at], 1.0),
                *((a, -1.0) for a in self.baselines[at : at + 1]),
            ):
                weights[arm] = weights.get(arm, 0.0) + sign * slope
        return weights

    def bind(self, _factors: object) -> "Trend":
        """The claim itself, which names its arms, whatever the factors of the experiment."""
        return self

    def describe(self) -> dict[str, Any]:
        """The claim as plain data, without the optional fields that are not set."""
        return {"kind": "trend", **describe_terms(self), "weights": self.weights}


_ROUNDING = 1e-12  # of weights that cancel but for rounding
AnyClaim = Claim | Effect | Interaction | Trend
_OfFactors = TypeVar("_OfFactors", Effect, Interaction)
KINDS: Mapping[str, type[Effect] | type[Interaction] | type[Trend]] = {
    "effect": Effect,
    "interaction": Interaction,
    "trend": Trend,
}


def read_claim(described: Mapping[str, Any]) -> AnyClaim:
    """A claim from what its `describe` returned.

    Raises:
        InputError: it is not valid.
        TypeError: it has fields that its kind does not have.
    """
    content: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in described.items()
    }
    for name in ("bases", "at_least"):  # what the experiment says of all of its claims
        content.pop(name, None)
    kind = content.pop("kind", None)
    if kind is None:
        return Claim(**content)
    require_choice("claim.kind", kind, tuple(KINDS))
    if kind == "trend":
        content.pop("weights", None)
    return KINDS[kind](**content)


def _compared(factors: Factors, factor: str, level: Any, baseline: Any) -> tuple[str, str]:
    """The names of two levels of a factor, with what is not given by default."""
    if factor not in factors:
        find_level(factors, factor, level)
    names = list(factors[factor])
    if level is None and len(names) > 2:
        raise InputError("claim.level", None, f"must be one of {len(names)} levels of {factor!r}")
    one = names[1] if level is None else find_level(factors, factor, level)
    other = names[0] if baseline is None else find_level(factors, factor, baseline)
    if one == other:
        raise InputError("claim.baseline", other, f"is the claim's own level of {factor!r}")
    return one, other


def _with_weights(
    claim: _OfFactors, factors: Factors, compared: Mapping[str, tuple[str, str]]
) -> _OfFactors:
    """The claim with other factors held at levels by name, or averaged over, and its weights."""
    for factor in claim.at:
        if factor in compared:
            raise InputError("claim.at", factor, "is what the claim compares")
    at = {factor: find_level(factors, factor, level) for factor, level in claim.at.items()}
    over = tuple(name for name in factors if name not in compared and name not in at)
    return replace(claim, at=at, over=over, weights=factorial_weights(factors, compared, at))


def _require_names(field_name: str, names: Any, *, once: bool = True) -> None:
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise InputError(field_name, names, "must be a tuple of names")
    if once and len(set(names)) < len(names):
        raise InputError(field_name, names, "names one twice", tuple(dict.fromkeys(names)))


def _require_levels(at: Any) -> None:
    if not isinstance(at, Mapping):
        raise InputError("claim.at", at, 'must be a dictionary such as {"model.order": …}')


def _require_scores(scores: Any, count: int) -> None:
    if not isinstance(scores, (tuple, list)) or len(scores) not in (0, count):
        raise InputError("claim.scores", scores, f"must be {count} numbers, or none")
    if not all(map(is_number, scores)):
        raise InputError("claim.scores", scores, "must be numbers")
    if list(scores) != sorted(set(scores)):
        raise InputError("claim.scores", scores, "must increase", tuple(sorted(set(scores))))
