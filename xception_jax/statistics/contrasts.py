"""Contrasts: weights over arms, to which every claim comes down, whatever it compares.

A claim about two arms has the weights 1 and -1, one about a difference of differences 1, -1, -1 and
1. Effects and interactions of factors, and trends over ordered arms, are recorded with their
weights. The tests, the audit, the figures and the tables know nothing else of what is compared.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from xception_jax.json_values import as_list, as_mapping, as_real, as_text
from xception_jax.statistics.results import UNREADABLE, Base, Run, Sweep

Arms = tuple[str, ...]
MINUS, TIMES, THEN = " − ", " × ", " → "
_MOST_PARTS = 3
_ROUNDING = 1e-9  # of weights that add up to zero but for rounding
_ROUNDING_OF_SUMS = 1e-14  # some units in the last place of sums of a few values


@dataclass(frozen=True)
class Contrast:
    """Weights over arms: the value of a seed is the weighted sum of what its runs reached.

    Attributes:
        arms: each once, those that are compared directly beside each other.
        weights: weights of the arms; they add up to zero.
        parts: the words of its name: arms or levels that are subtracted from each other.
        symbol: what connects the parts: a difference of differences (`MINUS`), an interaction
            (`TIMES`) or a trend (`THEN`).
        where: the levels of other factors that it belongs to: ` at wide on average over order`.
        scores: of a trend where its arms stand, if that was declared; it is in the weights.
    """

    arms: Arms
    weights: tuple[float, ...]
    parts: tuple[tuple[str, ...], ...]
    symbol: str = MINUS
    where: str = ""
    scores: tuple[float, ...] = field(default=(), compare=False)

    @property
    def is_trend(self) -> bool:
        """Whether it is the slope over ordered arms."""
        return self.symbol == THEN

    @property
    def name(self) -> str:
        """The contrast in words: `relu − none`, `(relu − none) × (wide − narrow)`, `a → b → c`."""
        return self._join(self.parts) + self.where

    @property
    def sides(self) -> tuple[str, str]:
        """The two things that are compared, in words; of a trend its last part and its first."""
        if len(self.parts) == 1:
            return self.parts[0][0], self.parts[0][1]
        if self.symbol == TIMES:
            *others, (level, baseline) = self.parts
            head = self._join(tuple(others), bracket=True)
            return f"{head} at {level}", f"{head} at {baseline}"
        return _part(self.parts[-1 if self.is_trend else 0]), _part(
            self.parts[0 if self.is_trend else 1]
        )

    def abbreviated(self, shorten: Callable[[str, int], str], most: int) -> str:
        """The name without `where`, its words cut, and a long trend reduced to its ends.

        Args:
            shorten: a word, cut to so many characters.
            most: characters for all words together.
        """
        parts = self.parts
        if len(parts) > _MOST_PARTS:
            parts = (parts[0], ("…",), parts[-1])
        words = sum(map(len, parts))
        cut = tuple(tuple(shorten(word, max(8, most // words)) for word in part) for part in parts)
        return self._join(cut)

    def _join(self, parts: tuple[tuple[str, ...], ...], *, bracket: bool = False) -> str:
        if len(parts) == 1 and not bracket:
            return MINUS.join(parts[0])
        return self.symbol.join(map(_part, parts))

    def on(self, base: Base) -> "Contrast":
        """The contrast of the arms of one base."""
        arms = tuple(base.arms.get(arm, f"{base.name}-{arm}") for arm in self.arms)
        return replace(self, arms=arms, where=f"{self.where} on {base.name}")

    def of(self, values: Float[np.ndarray, "arms ..."]) -> Float[np.ndarray, "..."]:
        """The contrast of arms' values, one row an arm; zero where only rounding says otherwise."""
        one, other = self.split(values)
        equal = np.abs(one - other) <= _ROUNDING_OF_SUMS * (np.abs(one) + np.abs(other))
        return np.where(equal, 0.0, one - other)

    def split(self, values: Float[np.ndarray, "arms ..."]) -> Float[np.ndarray, "2 ..."]:
        """The weighted sums of the arms that count positive, and of those that count negative."""
        weights = np.array(self.weights)
        both = np.stack([np.maximum(weights, 0.0), np.maximum(-weights, 0.0)])
        return np.tensordot(both, values, axes=1)


def _part(words: tuple[str, ...]) -> str:
    return f"({MINUS.join(words)})" if len(words) > 1 else words[0]


# -- of claims ---------------------------------------------------------------------------------


def difference(arm: str, baseline: str) -> Contrast:
    """The contrast of two arms."""
    return Contrast((arm, baseline), (1.0, -1.0), ((arm, baseline),))


def read_contrast(claim: Mapping[str, Any]) -> Contrast | None:
    """The contrast of a recorded claim, which anyone may have written; None: it has none."""
    words = _WORDS.get(as_text(claim.get("kind", "")))
    if words is None:
        return None
    parts, symbol, where = words(claim)
    weights = _weights(claim)
    total = sum(map(abs, weights.values()))
    if not parts or not total or abs(sum(weights.values())) > _ROUNDING * total:
        return None
    scores = map(as_real, as_list(claim.get("scores"))) if symbol == THEN else ()
    known = tuple(score for score in scores if score is not None)
    return Contrast(tuple(weights), tuple(weights.values()), parts, symbol, where, known)


def _weights(claim: Mapping[str, Any]) -> dict[str, float]:
    """The weights; empty: the claim is not in the form of one.

    A weight of zero is that of an arm that a trend names and its slope does not depend on: a seed
    without it does not show the trend.
    """
    if "kind" in claim:
        recorded = {
            as_text(arm): as_real(weight)
            for arm, weight in as_mapping(claim.get("weights")).items()
        }
        known = {arm: weight for arm, weight in recorded.items() if weight is not None}
        return known if len(known) == len(recorded) else {}
    weights: dict[str, float] = {}
    for arm, sign in zip(_names(claim), (1.0, -1.0, -1.0, 1.0), strict=False):
        weights[arm] = weights.get(arm, 0.0) + sign
    return {arm: weight for arm, weight in weights.items() if weight}


def _names(claim: Mapping[str, Any]) -> list[str]:
    """The two or four arms of a claim about arms; empty: it has not so many."""
    names = [claim.get("arm"), claim.get("baseline"), *as_list(claim.get("versus"))]
    known = [as_text(name) for name in names if isinstance(name, str)]
    return known if len(known) == len(names) and len(names) in (2, 4) else []


_Words = tuple[tuple[tuple[str, ...], ...], str, str]


def _words_of_arms(claim: Mapping[str, Any]) -> _Words:
    names = _names(claim)
    return tuple(tuple(names[at : at + 2]) for at in range(0, len(names), 2)), MINUS, ""


def _words_of_effect(claim: Mapping[str, Any]) -> _Words:
    return ((as_text(claim.get("level")), as_text(claim.get("baseline"))),), MINUS, _where(claim)


def _words_of_interaction(claim: Mapping[str, Any]) -> _Words:
    levels, baselines = (as_list(claim.get(name)) for name in ("levels", "baselines"))
    pairs = zip(levels, baselines, strict=False)
    parts = tuple((as_text(level), as_text(baseline)) for level, baseline in pairs)
    return parts if len(parts) > 1 else (), TIMES, _where(claim)


def _words_of_trend(claim: Mapping[str, Any]) -> _Words:
    arms, baselines = (tuple(map(as_text, as_list(claim.get(n)))) for n in ("arms", "baselines"))
    parts = tuple(zip(arms, baselines, strict=False)) if baselines else tuple((a,) for a in arms)
    return parts if len(parts) > 1 else (), THEN, ""


def _where(claim: Mapping[str, Any]) -> str:
    """The levels of other factors that an effect belongs to: ` at wide on average over order`."""
    at = [as_text(level) for level in as_mapping(claim.get("at")).values()]
    over = [as_text(factor).rpartition(".")[2] for factor in as_list(claim.get("over"))]
    fixed = f" at {' and '.join(at)}" if at else ""
    return fixed + (f" on average over {' and '.join(over)}" if over else "")


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], _Words]] = {
    "": _words_of_arms,
    "effect": _words_of_effect,
    "interaction": _words_of_interaction,
    "trend": _words_of_trend,
}


# -- of sweeps ---------------------------------------------------------------------------------


def contrasts(sweep: Sweep) -> tuple[Contrast, ...]:
    """Every contrast of a sweep, once.

    Those of the claims come first, in their order, on one base after the other; then every arm that
    no claim names, with the first arm, of its base, as its baseline.
    """
    declared = as_list(as_mapping(sweep.record.get("experiment")).get("claims"))
    late = as_list(sweep.record.get("post_hoc_claims"))
    claimed = [read_contrast(claim) for claim in [*declared, *late] if isinstance(claim, dict)]
    known = [contrast for contrast in claimed if contrast]
    groups: list[Arms] = [tuple(sweep.arms)]
    if sweep.bases:
        known = [contrast.on(base) for base in sweep.bases for contrast in known]
        groups = [tuple(a for a in b.arms.values() if a in sweep.arms) for b in sweep.bases]
    known = [contrast for contrast in known if all(arm in sweep.arms for arm in contrast.arms)]
    named = {arm for contrast in known for arm in contrast.arms}
    rest = [difference(arm, arms[0]) for arms in groups for arm in arms[1:] if arm not in named]
    return tuple(dict.fromkeys([*known, *rest]))


def pairs(sweep: Sweep) -> tuple[Arms, ...]:
    """The pairs of arms whose runs have to be paired for the contrasts to mean anything.

    They connect all arms of a contrast: neighbors with each other, and with its first arm.
    """
    compared: list[Arms] = []
    for arms in (contrast.arms for contrast in contrasts(sweep)):
        couples = [arms[at : at + 2] for at in range(0, len(arms), 2)]
        compared += [couple for couple in couples if len(couple) == 2]
        compared += [(arms[0], couple[0]) for couple in couples[1:]]
    return tuple(dict.fromkeys(compared))


def paired_runs(sweep: Sweep, arms: Arms) -> Iterator[tuple[int, ...]]:
    """The indices of the runs of every seed that all the arms have, by seed."""
    by_seed = [sweep.seeds.get(arm, {}) for arm in arms]
    for seed in sorted(set.intersection(*(set(runs) for runs in by_seed))):
        yield tuple(runs[seed] for runs in by_seed)


def has_begun(run: Run) -> bool:
    """Whether the run has begun, and left files that can be read."""
    return run.status not in ("planned", UNREADABLE)
