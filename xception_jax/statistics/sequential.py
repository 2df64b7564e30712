"""The sign-flip test of differences that are looked at several times, at declared numbers of seeds.

Under the null hypothesis every difference could as well have had the other sign, whatever the
looks before have shown. So the joint distribution of the sums at all looks is known, given the
absolute differences. A spending function (Lan and DeMets 1983) says how much of the level may be
spent by each look: at a look the test rejects the largest sums, as many as what is added to the
spending there allows, counting only sign patterns that no earlier look has rejected. That count is
exact, and uses no difference that comes later.

What a look cannot spend, since there are few patterns, is not handed on. With that, a pattern that
is rejected at some level is rejected at every higher one, so that there is a p-value: the smallest
level at which the test rejects by this look. It can be adjusted by Holm's method, and the interval
of all values that the test does not reject holds at whichever look the sweep ends.

Up to `EXACT_UP_TO` differences every pattern is one sum. From there on sums and differences are
rounded to `CELLS` cells between the least and the greatest sum, and patterns of equal sum are
counted together. The test stays exact, as that of the rounded sum.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from xception_jax.records import SPENDINGS
from xception_jax.statistics.location import (
    JUST_BELOW,
    ROUNDING,
    Differences,
    LocationTest,
)

EXACT_UP_TO = 14
CELLS = 1 << 15
_NEARLY = 1 + 1e-10  # probabilities and budgets that are equal but for rounding
_EXACTLY = 1e-7  # to which share a p-value is found where no count gives it
_LEAST, _HALVINGS = 1e-30, 60  # of the levels among which one is searched for, to rounding
# One-sided level up to which O'Brien and Fleming's function adds the more at each look, the higher
# the level is. Above, where nothing is decided, it goes on linearly, so that this stays so.
_LINEAR_FROM = float(2 * ndtr(-1.0))

Sums = Float[np.ndarray, " sums"]


@dataclass(frozen=True)
class LookDesign:
    """The declared looks at a sample of differences.

    Attributes:
        sizes: number of differences at each look, increasing.
        spending: "obrien_fleming" or "pocock".
    """

    sizes: tuple[int, ...]
    spending: str = SPENDINGS[0]

    def spent(self, alpha: float, look: int) -> float:
        """The share of a one-sided level `alpha` that may be spent by look `look`, from 0."""
        return spent(alpha, self.sizes[look] / self.sizes[-1], self.spending)

    def added(self, alpha: float, look: int) -> float:
        """The probability that look `look` adds to `spent`: that with which it may reject."""
        before = self.spent(alpha, look - 1) if look else 0.0
        return self.spent(alpha, look) - before

    def least_level(self, probability: float, look: int) -> float:
        """The smallest one-sided level at which look `look` may reject with this probability."""
        if probability <= 0:
            return 0.0
        if len(self.sizes) == 1 or self.added(1.0, look) * _NEARLY < probability:
            return min(1.0, probability) if len(self.sizes) == 1 else 1.0
        low, high = _LEAST, 1.0
        for _ in range(_HALVINGS):
            middle = math.sqrt(low * high)  # what counts is the ratio: levels may be tiny
            low, high = (low, middle) if self.added(middle, look) >= probability else (middle, high)
        return high

    def smallest_p(self, look: int, *, one_sided: bool = False) -> float:
        """The least p-value that any differences can have by look `look`, from 0."""
        level = min(self.least_level(0.5 ** self.sizes[at], at) for at in range(look + 1))
        return min(1.0, level * (1 if one_sided else 2))


def spent(alpha: float, share: float, spending: str) -> float:
    """The part of a one-sided level that may be spent so far, by functions of Lan and DeMets.

    Args:
        alpha: the level.
        share: number of differences so far, as a share of all.
        spending: "obrien_fleming", which spends little at early looks, or "pocock", which spends
            about alike at all.

    Raises:
        ValueError: there is no such function.
    """
    if spending == "pocock":
        return alpha * math.log1p((math.e - 1) * share)
    if spending != "obrien_fleming":
        raise ValueError(f"no such spending function: {spending!r}")
    curved = min(alpha, _LINEAR_FROM)
    quantile = float(ndtri(curved / 2)) / math.sqrt(share)
    return (curved if share == 1 else 2 * float(ndtr(quantile))) + (alpha - curved) * share


@dataclass(frozen=True)
class SequentialTest(LocationTest):
    """A `LocationTest` that holds though the differences were tested at earlier looks, too.

    Attributes:
        differences: the differences of all seeds up to the last look that was reached, by seed.
        design: the declared looks, later ones included.

    Raises:
        ValueError: there are not as many differences as at a look.
    """

    design: LookDesign = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.differences.size not in self.design.sizes:
            looks = " or ".join(map(str, self.design.sizes))
            raise ValueError(f"differences must be {looks}, and are {self.differences.size}")

    @cached_property
    def look(self) -> int:
        """The look that the differences reach, from 0."""
        return self.design.sizes.index(self.differences.size)

    def p_above(self, null: float = 0.0) -> float:
        """The one-sided p-value, over all looks so far, against a value above `null`."""
        return self._path(null, 1.0).p()

    def p_below(self, null: float = 0.0) -> float:
        """The one-sided p-value, over all looks so far, against a value below `null`."""
        return self._path(null, -1.0).p()

    def rejects(self, alpha: float, null: float = 0.0) -> bool:
        """Whether the two-sided test at level `alpha` rejects `null` at one of the looks so far."""
        return any(self._path(null, sign).rejects(alpha / 2) for sign in (1.0, -1.0))

    def interval(self, tail: float, nulls: Sequence[float] = (0.0,)) -> tuple[float, float]:
        """The least and the greatest value that no one-sided test at level `tail` rejects by now.

        Args:
            tail: level on each side.
            nulls: the values that a claim tests; each lies inside exactly where it is not rejected.

        Returns:
            Both ends, to a millionth of the range; infinite if no look so far can reject. The lower
            one is above the upper one where there is no such value: where looks contradict each
            other, every value may be rejected at one of them.
        """
        if self.design.smallest_p(self.look, one_sided=True) >= tail * JUST_BELOW:
            return -math.inf, math.inf
        return self._end(tail, nulls, 1.0), -self._end(tail, nulls, -1.0)

    def _path(self, null: float, sign: float) -> "_Path":
        """The differences from `null`, positive in the direction of `sign`."""
        values = sign * (self.differences - null)
        slack = ROUNDING / 2 * np.abs(values).sum()
        values = np.where(np.abs(values) <= slack, 0.0, values)
        if self.test == "median":
            values = np.where(values > 0, 1.0, -1.0)  # what equals the null speaks for it
        return _Path(values, self.design, self.look)

    def _end(self, tail: float, nulls: Sequence[float], sign: float) -> float:
        """The lower end of the interval of the differences times `sign`."""
        signed = sign * self.differences
        low, high = float(signed.min()), float(signed.max())
        width = high - low
        for null in sorted(sign * null for null in nulls):
            is_rejected = self._path(sign * null, sign).rejects(tail * JUST_BELOW)
            low, high = (max(low, null), high) if is_rejected else (low, min(high, null))
        while high - low > 1e-7 * width:
            middle = (low + high) / 2
            if self._path(sign * middle, sign).rejects(tail * JUST_BELOW):
                low = middle
            else:
                high = middle
        return high


# -- paths of sums -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Path:
    """The sums of differences at the looks so far, among those of all sign patterns.

    Attributes:
        values: the differences; a large sum speaks against the null hypothesis.
        design: the declared looks.
        look: the last look that was reached.
    """

    values: Differences
    design: LookDesign
    look: int

    def p(self) -> float:
        """The smallest level at which the sum is rejected at one of the looks so far."""
        least = 1.0
        for look in range(self.look + 1):
            least = self._level(look, least)
        return least

    def rejects(self, alpha: float) -> bool:
        """Whether the sum is rejected at level `alpha` at one of the looks so far."""
        sums, weights = np.zeros(1), np.ones(1)
        for look in range(self.look + 1):
            sums, weights = self._extended(sums, weights, look)
            cut = self._cut(sums, weights, look, alpha)
            if self._observed[look] >= cut:
                return True
            sums, weights = sums[sums < cut], weights[sums < cut]
        return False

    def _level(self, look: int, most: float) -> float:
        """The smallest level up to `most` at which `look` rejects the sum; or else `most`.

        The share of patterns that are as extreme, and that no earlier look rejects, falls with the
        level, in steps; what the look may reject rises. So a share at one level bounds the level
        where they meet from the other side, and where both bounds stand still they are halved.
        """
        low, share = 0.0, self._share(look, 0.0)
        if (bound := self.design.least_level(share, look)) < most:
            high = bound
        elif self._share(look, most) <= self.design.added(most, look) * _NEARLY:
            high = most
        else:
            return most
        while high - low > _EXACTLY * high:
            share_at_high = self._share(look, high)
            low = max(low, self.design.least_level(share_at_high, look))
            if share_at_high == share or low >= high:
                return min(high, low)
            middle = (low + high) / 2
            share_at_middle = self._share(look, middle)
            if share_at_middle <= self.design.added(middle, look):
                high = middle
            else:
                low, share = middle, share_at_middle
                high = min(high, self.design.least_level(share, look))
        return high

    def _share(self, look: int, alpha: float) -> float:
        """The share of patterns as extreme at `look` that no earlier look rejects at `alpha`."""
        sums, weights = np.zeros(1), np.ones(1)
        for earlier in range(look):
            sums, weights = self._extended(sums, weights, earlier)
            kept = sums < self._cut(sums, weights, earlier, alpha)
            sums, weights = sums[kept], weights[kept]
        sums, weights = self._extended(sums, weights, look)
        return float(weights[sums >= self._observed[look] - self._slack(look)].sum())

    def _cut(self, sums: Sums, weights: Sums, look: int, alpha: float) -> float:
        """The least sum that `look` rejects at level `alpha`; infinite: it rejects none."""
        budget = self.design.added(alpha, look) * _NEARLY
        order = np.argsort(-sums, kind="stable")
        descending = sums[order]
        shares = np.cumsum(weights[order])
        # Sums that are equal but for rounding are rejected together, or none of them.
        ends = np.append(descending[:-1] - descending[1:] > self._slack(look), True)
        rejected = ends & (shares <= budget)
        if not rejected.any():
            return math.inf
        return float(descending[np.flatnonzero(rejected)[-1]] - self._slack(look))

    def _slack(self, look: int) -> float:
        return ROUNDING * self._scale(look)

    def _scale(self, look: int) -> float:
        return float(np.abs(self.values[: self.design.sizes[look]]).sum())

    def _parts(
        self, look: int
    ) -> tuple[Float[np.ndarray, " exact"], Float[np.ndarray, " in_cells"], float]:
        """The differences that a look adds: those counted exactly and those in cells, and a cell.

        Cells depend on the differences so far alone, so that later ones do not change a look.
        """
        start = self.design.sizes[look - 1] if look else 0
        values = self.values[start : self.design.sizes[look]]
        exact = max(0, EXACT_UP_TO - start)
        return values[:exact], values[exact:], 2 * self._scale(look) / CELLS

    def _extended(
        self, sums: Sums, weights: Sums, look: int
    ) -> tuple[Float[np.ndarray, " more"], Float[np.ndarray, " more"]]:
        """All sums of a look and their shares, from those that are left of the look before."""
        exact, in_cells, cell = self._parts(look)
        for value in np.abs(exact):
            sums = np.concatenate([sums + value, sums - value])
            weights = np.concatenate([weights, weights]) / 2
        if not in_cells.size or not cell or not sums.size:
            return sums, weights
        cells = np.rint(sums / cell).astype(np.int64)
        lowest = int(cells.min())
        weights = np.bincount(cells - lowest, weights)
        for shift in np.rint(np.abs(in_cells) / cell).astype(np.int64).tolist():
            wider = np.zeros(weights.size + 2 * shift)
            wider[: weights.size] = weights
            wider[2 * shift :] += weights
            weights, lowest = wider / 2, lowest - shift
        return cell * (lowest + np.arange(weights.size)), weights

    @cached_property
    def _observed(self) -> list[float]:
        """The sum at each look so far, rounded as those of the patterns are."""
        total, totals = 0.0, []
        for look in range(self.look + 1):
            exact, in_cells, cell = self._parts(look)
            for value in exact:
                total += float(value)
            if in_cells.size and cell:
                shifts = np.rint(np.abs(in_cells) / cell) * np.sign(in_cells)
                total = cell * float(np.rint(total / cell) + shifts.sum())
            totals.append(total)
        return totals
