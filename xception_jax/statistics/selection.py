"""Choice of a tuned setting: the best mean score on a grid, and the value one step beyond its edge.

Pure functions: `sweep.tuning` chooses with them, and the report repeats every choice with them.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

Point = tuple[float, ...]
"""One value of each tuned setting."""
EDGES = ("lower", "upper")
_DIGITS = 6  # of a value beyond the edge, so that 0.1 x 0.1 / 0.03 is written as 0.333333


def mean_score(scores: Sequence[float]) -> float:
    """The mean, which does not depend on the order of the scores."""
    return math.fsum(scores) / len(scores)


def best_point(scores: Mapping[Point, Sequence[float]]) -> Point:
    """The point with the highest mean score; of several, the one with the smallest values.

    Means that differ by less than 1e-12 are the same: shares of a few thousand examples differ by
    more, unless by their rounding.
    """
    return min(scores, key=lambda point: (-round(mean_score(scores[point]), 12), point))


def edge_of(value: float, values: Sequence[float]) -> str | None:
    """The edge of the increasing `values` at which `value` lies; None: inside."""
    if value == values[0]:
        return "lower"
    return "upper" if value == values[-1] else None


def grid_of(points: Iterable[Point]) -> tuple[Point, ...]:
    """The increasing values of each setting that occur among the points."""
    return tuple(tuple(sorted(set(values))) for values in zip(*points, strict=True))


def is_geometric(values: Sequence[float]) -> bool:
    """Whether increasing values are spaced by factors rather than by differences.

    A zero before positive values, as of a weight decay, does not count as spaced by a factor.
    """
    positive = [value for value in values if value > 0]
    if values[0] < 0 or len(positive) < 2:
        return False
    factors = [math.log(b / a) for a, b in itertools.pairwise(positive)]
    steps = [b - a for a, b in itertools.pairwise(values)]
    uneven, uneven_steps = max(factors) / min(factors), max(steps) / min(steps)
    close = math.isclose(uneven, uneven_steps, rel_tol=1e-9)
    return values[0] > 0 if close else uneven < uneven_steps


def value_beyond(values: Sequence[float], edge: str) -> float | None:
    """The value one step beyond an edge, geometric or arithmetic as the values are.

    Args:
        values: at least two increasing values.
        edge: one of `EDGES`.

    Returns:
        A value to six digits, whole where all values are; None: there is none, below zero on a
        geometric grid.
    """
    last, before = (values[0], values[1]) if edge == "lower" else (values[-1], values[-2])
    if is_geometric(values):
        if last == 0:
            return None
        exact = last * (last / before)
    else:
        exact = last + (last - before)
        if math.isclose(last, before - last, rel_tol=1e-9):
            exact = 0.0  # not what rounding leaves of it
    rounded = float(f"{exact:.{_DIGITS}g}")
    lies_beyond = rounded < last if edge == "lower" else rounded > last
    value = rounded if lies_beyond else exact
    if all(isinstance(tried, int) for tried in values) and value.is_integer():
        return int(value)
    return value
