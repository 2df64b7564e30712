"""Weights of effects and interactions over the arms that factors make.

An arm is a combination of levels, one of each factor, and named by them. The sweep that declares
claims and the report that reads them share this module, so it imports none of the package.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping

Levels = Mapping[str, Iterable[str]]
"""The names of the levels of each factor."""


def combinations(factors: Levels) -> Iterator[dict[str, str]]:
    """Every combination of levels, the last factor's changing fastest."""
    for levels in itertools.product(*factors.values()):
        yield dict(zip(factors, levels, strict=True))


def arm_name(levels: Mapping[str, str]) -> str:
    """The name of the arm that has these levels, in the order of the factors."""
    return "-".join(levels.values())


def factorial_weights(
    factors: Levels, compared: Mapping[str, tuple[str, str]], at: Mapping[str, str]
) -> dict[str, float]:
    """The weights of a main effect, a simple effect or an interaction.

    Args:
        factors: all factors.
        compared: for each factor that is compared the level that counts positive and the one that
            counts negative: one factor gives an effect, several an interaction.
        at: for factors that are held at a level, that level. The weights average over the levels
            of all other factors.

    Returns:
        The weights by arm, a level and its baseline side by side. Those of an effect add up to one
        on either side; those of an interaction are a difference of such effects.
    """
    chosen = {
        name: compared.get(name, (at[name],) if name in at else tuple(levels))
        for name, levels in factors.items()
    }
    averaged = math.prod(len(levels) for name, levels in chosen.items() if name not in compared)
    # The first factor that is compared changes fastest.
    order = [name for name in factors if name not in compared] + list(compared)[::-1]
    weights = {}
    for levels in combinations({name: chosen[name] for name in order}):
        signs = (1.0 if levels[name] == level else -1.0 for name, (level, _) in compared.items())
        weights[arm_name({name: levels[name] for name in factors})] = math.prod(signs) / averaged
    return weights
