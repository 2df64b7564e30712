"""Detectable effects of a test with declared looks, simulated with the test that judges.

A sweep with looks finds an effect if one of its looks rejects; the p-value of `sequential` at the
last look counts all of them, so it tells of every simulated sweep whether it would. Looks cost
power, the more so the fewer seeds there are, since the share of the level that a look with few sign
patterns cannot spend is lost.
"""

import math
from collections.abc import Callable
from functools import lru_cache

from xception_jax.statistics.location import JUST_BELOW
from xception_jax.statistics.power import (
    POWER,
    Design,
    Samples,
    minimum_detectable_effect,
    simulated_differences,
)
from xception_jax.statistics.sequential import LookDesign, SequentialTest

DRAWS_AT_LOOKS = 1_000
"""Simulated sweeps: each test takes milliseconds, and most are made more than once."""
_STEP, _PRECISION = 1.15, 1e-3


def power_error_at_looks() -> float:
    """The Monte Carlo standard error of a power of 80%."""
    return math.sqrt(POWER * (1 - POWER) / DRAWS_AT_LOOKS)


@lru_cache(maxsize=64)
def detectable_at_looks(looks: LookDesign, design: Design) -> float | None:
    """The effect with which a claim is decided at one of the looks in 80 of 100 sweeps.

    Args:
        looks: the declared looks.
        design: the test of the claim.

    Returns:
        As `minimum_detectable_effect`, which is that of the last look alone.
    """
    n = looks.sizes[-1]
    attainable = looks.smallest_p(len(looks.sizes) - 1, one_sided=True) < design.tail * JUST_BELOW
    start = minimum_detectable_effect(n, design) if attainable else None
    if start is None:
        return None
    samples = simulated_differences(n, design, DRAWS_AT_LOOKS)
    return _least(lambda at, size: _decides(looks, design, samples[:, at], size), start)


def _decides(looks: LookDesign, design: Design, sample: Samples, size: float) -> bool:
    """Whether all endpoints of a sweep, a row each, are decided by the last look.

    Args:
        looks: the declared looks.
        design: the test of the claim.
        sample: differences without an effect.
        size: the effect on each endpoint; of an equivalence, its margin.
    """
    level = 2 * design.tail * JUST_BELOW
    if design.equivalence:
        tests = (SequentialTest(row, design.test, design=looks) for row in sample)
        return all(
            abs(test.estimate) < size and test.rejects(level, -size) and test.rejects(level, size)
            for test in tests
        )
    tests = (SequentialTest(row + size, design.test, design=looks) for row in sample)
    return all(test.estimate > 0 and test.rejects(level) for test in tests)


def _least(decides: Callable[[int, float], bool], start: float) -> float:
    """The least size at which the share `POWER` of the sweeps is decided.

    A sweep that is decided at one size is so at every larger one. So each is asked only between the
    sizes where it is not known yet.

    Args:
        decides: whether a sweep, by its number, is decided at a size.
        start: a size near the one that is looked for.
    """
    wanted = math.ceil(POWER * DRAWS_AT_LOOKS)
    decided, waiting = 0, list(range(DRAWS_AT_LOOKS))  # at `low`, and not yet there
    low, high = 0.0, start
    while True:
        at_high = [number for number in waiting if decides(number, high)]
        if decided + len(at_high) >= wanted:
            break
        decided += len(at_high)
        waiting = sorted(set(waiting) - set(at_high))
        low, high = high, high * _STEP
    waiting = at_high
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        at_middle = [number for number in waiting if decides(number, middle)]
        if decided + len(at_middle) >= wanted:
            high, waiting = middle, at_middle
        else:
            decided += len(at_middle)
            low, waiting = middle, sorted(set(waiting) - set(at_middle))
    return high
