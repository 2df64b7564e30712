"""Exact tests of where paired differences lie, and the intervals that invert them.

Two tests, by name: `mean` is the sign-flip test of the mean, exact where the differences are
symmetric about it; `median` is the sign test, exact whatever their distributions are. Both count
points: for the mean the means of all subsets of the differences, for the median the differences
themselves. The p-value that the true value is at most some number, against its being above,
depends only on how many points are at most that number. So the interval of all values that a test
does not reject ends at a point, and an interval without zero and p < 0.05 are the same event.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.special import bdtr

EXACT_UP_TO = 20
"""Seeds up to which every one of the 2^n sign patterns is counted."""
DRAWS = 100_000
ROUNDING = 1e-9
"""Difference of sums that are equal but for rounding, as a share of the largest possible sum."""
JUST_BELOW = 1 - 1e-12
"""Factor of a level, so that a p-value equal to the level does not count as below it."""

Differences = Float[np.ndarray, " seeds"]


@dataclass(frozen=True)
class LocationTest:
    """The test of one sample of paired differences, at every value that may be the true one.

    Up to 2^20 sign patterns all are counted; above, `draws` random ones with their opposites, and
    the two-sided p is (b + 1) / (draws + 1), where b patterns are as extreme as the observed one.

    Attributes:
        differences: one per seed, finite.
        test: "mean" or "median".
        draws: random sign patterns where there are too many to count.

    Raises:
        ValueError: a difference is not finite.
    """

    differences: Differences
    test: str = "mean"
    draws: int = DRAWS

    def __post_init__(self) -> None:
        if not np.isfinite(self.differences).all():
            raise ValueError(f"differences must be finite, and are {self.differences.tolist()}")

    @property
    def estimate(self) -> float:
        """The mean or the median; of at least one difference."""
        center = np.mean if self.test == "mean" else np.median
        return float(center(self.differences))

    @cached_property
    def _points(self) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
        """The sum and the size of every subset whose mean is a point; drawn ones may be empty."""
        values = self.differences
        if self.test == "median":
            return values, np.ones(values.size)
        if values.size <= EXACT_UP_TO:
            sums, sizes = _every_subset(values)
            return sums[1:], sizes[1:]
        generator = np.random.default_rng(0)
        sums, sizes = np.zeros(self.draws), np.zeros(self.draws)
        for part in np.array_split(values, -(-values.size // 10)):
            # A random subset of ten differences is one of 1,024, drawn at once.
            part_sums, part_sizes = _every_subset(part)
            drawn = generator.integers(0, part_sums.size, self.draws)
            sums, sizes = sums + part_sums[drawn], sizes + part_sizes[drawn]
        whole = [values.sum()], [float(values.size)]
        return (
            np.concatenate([sums, whole[0] - sums, whole[0]]),
            np.concatenate([sizes, values.size - sizes, whole[1]]),
        )

    def _distances(self, null: float) -> Float[np.ndarray, " points"]:
        """The distance of every point from `null`, times its subset's size.

        It is zero where only rounding says otherwise.
        """
        sums, sizes = self._points
        distances = sums - sizes * null
        slack = ROUNDING / 2 * np.abs(self.differences - null).sum()
        return np.where(np.abs(distances) <= slack, 0.0, distances)

    def p_above(self, null: float = 0.0) -> float:
        """The one-sided p-value against the true value's being above `null`."""
        return self._tail(int(np.count_nonzero(self._distances(null) <= 0)))

    def p_below(self, null: float = 0.0) -> float:
        """The one-sided p-value against the true value's being below `null`."""
        return self._tail(int(np.count_nonzero(self._distances(null) >= 0)))

    def _tail(self, count: int) -> float:
        n = self.differences.size
        if self.test == "median":
            return float(bdtr(min(count, n), n, 0.5))
        return (1 + count) / (1 + self._points[0].size)

    def p(self, null: float = 0.0) -> float:
        """The two-sided p-value."""
        return min(1.0, 2 * min(self.p_above(null), self.p_below(null)))

    def p_within(self, margin: float) -> float:
        """The p-value of two one-sided tests (TOST) that the value is inside (-margin, margin)."""
        return max(self.p_above(-margin), self.p_below(margin))

    def p_beyond(self, margin: float) -> float:
        """The p-value that the value lies outside [-margin, margin]; at zero it is `p`."""
        return min(1.0, 2 * min(self.p_above(margin), self.p_below(-margin)))

    def interval(self, tail: float, nulls: Sequence[float] = (0.0,)) -> tuple[float, float]:
        """The least and the greatest value that no one-sided test at level `tail` rejects.

        Args:
            tail: level on each side: 0.025 for a 95% interval.
            nulls: the values that a claim tests. Ends that equal one but for rounding are set to
                it, as the tests count them, so that test and interval never differ.

        Returns:
            Both ends, which belong to the interval; infinite if there are too few differences.
        """
        return self._low(tail, nulls, 1.0), -self._low(tail, nulls, -1.0)

    def _low(self, tail: float, nulls: Sequence[float], sign: float) -> float:
        """The lower end of the interval of the differences times `sign`."""
        sums, sizes = self._points
        count = least_count(self.differences.size, tail, self.test, sums.size)
        if count == 0:
            return -math.inf
        points = np.full(sums.size, -math.inf)  # empty subsets: as extreme as can be on both sides
        np.divide(sign * sums, sizes, out=points, where=sizes > 0)
        for null in nulls:
            points[(self._distances(null) == 0) & (sizes > 0)] = sign * null
        return float(np.partition(points, count - 1)[count - 1])


def _every_subset(
    values: Float[np.ndarray, " seeds"],
) -> tuple[Float[np.ndarray, " subsets"], Float[np.ndarray, " subsets"]]:
    """Sums and sizes of all 2^n subsets; the first is empty."""
    sums, sizes = np.zeros(1), np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
        sizes = np.concatenate([sizes, sizes + 1])
    return sums, sizes


def least_count(n: int, tail: float, test: str, points: int | None = None) -> int:
    """The number of points that must lie on one side for the one-sided p not to be below `tail`.

    Args:
        n: number of differences.
        tail: level of the one-sided test.
        test: "mean" or "median".
        points: number of points; None: all that n differences have.

    Returns:
        0: the test cannot reject, whatever the differences are.
    """
    if test == "median":
        return int(np.searchsorted(bdtr(np.arange(n + 1), n, 0.5), tail * JUST_BELOW))
    patterns = sign_patterns(n) if points is None else points + 1
    return max(0, math.ceil(tail * patterns * JUST_BELOW) - 1)


def sign_patterns(n: int) -> float:
    """The number of sign patterns of n differences, or so many that a level is not rounded."""
    return 2.0 ** min(n, 60)


def smallest_p(n: int, *, one_sided: bool = False) -> float:
    """The least p-value that either test can give to n differences."""
    return 2.0 ** (-n if one_sided else 1 - n)


def smallest_n(alpha: float, *, one_sided: bool = False) -> int:
    """The least number of differences with which p can come out below `alpha`."""
    return next(n for n in range(1, 1100) if smallest_p(n, one_sided=one_sided) < alpha)
