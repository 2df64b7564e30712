"""What a number of seeds can find: power, minimum detectable effect, and the number it takes.

The power is Student's (noncentral t) at the level that the sign-flip test can attain, for that test
has no power function in closed form; `tests/statistics/test_statistics_simulated.py` measures how
far the two are apart. Effects are differences of means between paired arms.
"""

import math
from collections.abc import Callable

from scipy.special import nctdtr, stdtrit

ALPHA = 0.05
POWER = 0.8
FEWEST_PAIRS = 4
"""With fewer, no verdict is drawn at all."""
MOST_SEEDS = 1_000


def attainable_level(n: int, alpha: float = ALPHA, *, one_sided: bool = False) -> float:
    """The largest level below `alpha` of the sign-flip test on n differences; 0.0: there is none.

    Its p-values are multiples of 2^-n, two-sided of 2 * 2^-n.
    """
    patterns = 2.0 ** min(n if one_sided else n - 1, 60)
    return max(0.0, (math.ceil(alpha * patterns) - 1) / patterns)


def smallest_n(alpha: float = ALPHA, *, one_sided: bool = False) -> int:
    """The least number of differences with which p can come out below `alpha`."""
    return next(n for n in range(2, 100) if attainable_level(n, alpha, one_sided=one_sided) > 0)


def power(effect: float, n: int, alpha: float = ALPHA) -> float:
    """The probability that the two-sided test finds an effect, in standard deviations."""
    level = attainable_level(n, alpha)
    if not level:
        return 0.0
    return _tail(effect, n, level / 2) + _tail(-effect, n, level / 2)


def equivalence_power(effect: float, margin: float, n: int, alpha: float = ALPHA) -> float:
    """The probability that two one-sided tests show equivalence; all in standard deviations."""
    level = attainable_level(n, alpha, one_sided=True)
    if not level:
        return 0.0
    return max(0.0, _tail(margin - effect, n, level) + _tail(margin + effect, n, level) - 1)


def minimum_detectable_effect(
    n: int, deviation: float = 1.0, *, equivalence: bool = False, alpha: float = ALPHA
) -> float | None:
    """The effect that n differences find with a probability of 80%.

    Args:
        n: number of differences.
        deviation: their standard deviation; 1: the result is in units of it.
        equivalence: the least margin within which two arms that do not differ are shown to be
            equivalent, instead.
        alpha: the level, adjusted by the caller for the number of claims.

    Returns:
        None where no effect is large enough, since n differences cannot reach that level.
    """
    if not attainable_level(n, alpha, one_sided=equivalence):
        return None

    def found(effect: float) -> bool:
        if equivalence:
            return equivalence_power(0.0, effect, n, alpha) >= POWER
        return power(effect, n, alpha) >= POWER

    return deviation * _least(found)


def needed_n(
    effect: float, deviation: float, *, margin: float | None = None, alpha: float = ALPHA
) -> int | None:
    """How many differences decide with a probability of 80%, were effect and deviation the truth.

    Args:
        effect: mean difference, in the unit of `deviation`.
        deviation: standard deviation of the differences.
        margin: decide whether the effect is within it, instead of on which side of zero it is.
        alpha: the level, adjusted by the caller for the number of claims.

    Returns:
        None: more than `MOST_SEEDS`.
    """
    distance = abs(effect) if margin is None else abs(abs(effect) - margin)
    if distance <= 1e-9 * abs(effect):
        return None
    inside = margin is not None and abs(effect) < margin
    scale = max(deviation, 1e-9 * max(abs(effect), distance))

    def decides(n: int) -> bool:
        if inside:
            return equivalence_power(effect / scale, (margin or 0.0) / scale, n, alpha) >= POWER
        return power(distance / scale, n, alpha) >= POWER

    if not decides(MOST_SEEDS):
        return None
    return next(n for n in range(2, MOST_SEEDS + 1) if decides(n))


def _tail(effect: float, n: int, level: float) -> float:
    """P(t statistic of n differences > its upper `level` quantile under the null)."""
    shift = effect * math.sqrt(n)
    critical = float(stdtrit(n - 1, 1 - level))
    if abs(shift - critical) > 200:  # beyond what the noncentral t is computed for
        return float(shift > critical)
    below = float(nctdtr(n - 1, shift, critical))
    return float(shift > critical) if math.isnan(below) else 1.0 - below


def _least(holds: Callable[[float], bool]) -> float:
    """The least positive number for which `holds`, which stays true above it."""
    high = 1.0
    while not holds(high):
        high *= 2
    low = 0.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
