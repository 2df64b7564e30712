"""Group-sequential designs by their theory, Brownian motion with drift: an oracle for looks."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

REACH, STEP = 10.0, 0.0025


def first_crossings(
    bounds: Sequence[float], shares: Sequence[float], drift: float = 0.0
) -> list[float]:
    """The probability of every look that Z exceeds its boundary there for the first time.

    Z at a look is Brownian motion with drift by the share of all data, over the root of the share,
    as for sums of Gaussian differences whose spread is known. It is integrated on a grid, look by
    look (Jennison and Turnbull 2000, chapter 19; Armitage, McPherson and Rowe 1969).

    Args:
        bounds: boundary of Z at each look.
        shares: share of all data at each look, increasing to 1.
        drift: mean of Z at the last look.
    """
    grid = np.arange(-REACH, REACH + STEP / 2, STEP)  # of the motion without its drift
    density, found, before = np.zeros(0), [], 0.0
    for bound, share in zip(bounds, shares, strict=True):
        edge, scale = bound * math.sqrt(share) - drift * share, math.sqrt(share - before)
        if before == 0:
            found.append(float(stats.norm.sf(edge / scale)))
            density = stats.norm.pdf(grid, scale=scale)
        else:
            # The exact probability to be beyond the edge from every place that is left.
            beyond = stats.norm.sf((edge - grid) / scale)
            found.append(float((density * beyond).sum() * STEP))
            density = np.convolve(density, stats.norm.pdf(grid, scale=scale) * STEP, mode="same")
        density = np.where(grid < edge, density, 0.0)
        before = share
    return found


def boundaries(budgets: Sequence[float], shares: Sequence[float]) -> list[float]:
    """The boundaries of Z by which every look spends its budget, a one-sided probability."""
    bounds: list[float] = []
    for look, budget in enumerate(budgets):
        if budget <= 0:
            bounds.append(math.inf)
            continue

        def excess(bound: float, look: int = look, budget: float = budget) -> float:
            return first_crossings([*bounds, bound], shares[: look + 1])[-1] - budget

        bounds.append(float(optimize.brentq(excess, 0.0, 8.0, xtol=1e-6)))
    return bounds
