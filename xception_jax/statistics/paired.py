"""Statistics of paired differences, one number a seed, and of p-values.

The seed is the unit: what is tested is the difference between two arms over seeds. The tests and
the intervals that invert them are in `location.py`; Student's and the bootstrap's intervals here
stand beside those and decide nothing.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

from xception_jax.statistics.location import Differences

CONFIDENCE = 0.95
FEWEST_FOR_BOOTSTRAP = 10
RESAMPLES = 10_000
_ROUNDING = 1e-9  # of means that are equal but for rounding, in shares of the mean difference


# -- p-values ----------------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> Float[np.ndarray, " tests"]:
    """P-values adjusted by Holm's step-down method, in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def partial_conjunction(p_values: Sequence[float], at_least: int) -> float:
    """The p-value against "fewer than `at_least` of these null hypotheses are false".

    The smallest k - 1 p-values are set aside, and the next one counts as often as p-values are left
    (Benjamini and Heller 2008, in the form of Bonferroni): (K - k + 1) p_(k), which holds however
    the K p-values depend on each other. For k = K it is the largest one.
    """
    ordered = sorted(p_values)
    return min(1.0, (len(ordered) - at_least + 1) * ordered[at_least - 1])


# -- intervals ---------------------------------------------------------------------------------


def other_intervals(differences: Differences) -> dict[str, list[float]]:
    """95% intervals of the mean of two or more differences by other methods, which decide nothing.

    The bootstrap's is taken from 10 differences on, at the `expanded` confidence, without which it
    is too short at such n.
    """
    intervals = {"paired t": list(t_interval(differences))}
    if differences.size >= FEWEST_FOR_BOOTSTRAP:
        confidence = expanded(CONFIDENCE, differences.size)
        intervals["BCa bootstrap"] = list(bca_interval(differences, confidence))
    return intervals


def t_interval(differences: Differences, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's interval of the mean of at least two differences."""
    n, mean = differences.size, differences.mean()
    half = stdtrit(n - 1, (1 + confidence) / 2) * differences.std(ddof=1) / np.sqrt(n)
    return float(mean - half), float(mean + half)


def expanded(confidence: float, n: int) -> float:
    """The confidence at which a bootstrap interval of a Gaussian mean is as long as Student's.

    Resampling takes the spread of the sample for that of the population, which is too small by
    sqrt((n - 1) / n), and knows no t distribution (Hesterberg 2015, "expanded percentiles").
    """
    quantile = np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + confidence) / 2)
    return float(2 * ndtr(quantile) - 1)


def bca_interval(
    differences: Differences, confidence: float, *, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap interval of the mean (Efron 1987)."""
    n, mean = differences.size, float(differences.mean())
    slack = _ROUNDING * np.abs(differences).mean()
    if np.ptp(differences) <= slack:
        return mean, mean
    drawn = np.random.default_rng(0).integers(0, n, (resamples, n))
    means = differences[drawn].mean(axis=1)
    below = (np.mean(means < mean - slack) + np.mean(means <= mean + slack)) / 2
    bias = ndtri(below)
    # The jackknife's deviations are the differences' own, divided by n - 1: that cancels.
    deviations = differences - mean
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    shifted = bias + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(means, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return float(low), float(high)


def crossed_interval(differences: Float[np.ndarray, "seeds examples"]) -> tuple[float, float]:
    """A 95% bootstrap interval of the mean that takes the examples as a sample, too.

    Seeds and examples are resampled independently of each other (Owen 2007), which errs on the
    long side. Given the seeds drawn, the mean over as many examples drawn is Gaussian but for terms
    of the order of 1 / sqrt(examples), with the mean and the variance that are used here: so the
    examples need no loop. The percentiles are `expanded` for the number of seeds.

    Args:
        differences: arm minus baseline, for each seed on each example.
    """
    seeds, examples = differences.shape
    means = differences.mean(axis=1)
    residuals = differences - means[:, None]
    covariance = residuals @ residuals.T / examples
    generator = np.random.default_rng(0)
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    variances = ((weights @ covariance) * weights).sum(axis=1) / examples
    noise = generator.standard_normal(RESAMPLES) * np.sqrt(np.maximum(variances, 0.0))
    tail = (1 - expanded(CONFIDENCE, seeds)) / 2
    low, high = np.quantile(weights @ means + noise, [tail, 1 - tail])
    return float(low), float(high)


# -- descriptions ------------------------------------------------------------------------------


def correlation(
    arm: Float[np.ndarray, " seeds"], baseline: Float[np.ndarray, " seeds"]
) -> float | None:
    """Pearson's correlation of two arms over seeds; None where one of them does not vary."""
    if arm.size < 3:
        return None
    one, other = arm - arm.mean(), baseline - baseline.mean()
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    if scale <= _ROUNDING * float(np.sqrt((arm**2).sum() * (baseline**2).sum())):
        return None
    return float(np.clip((one * other).sum() / scale, -1, 1))


def skewness(differences: Differences) -> float | None:
    """The adjusted sample skewness; None below three differences, or if they do not vary."""
    n = differences.size
    if n < 3:
        return None
    deviations = differences - differences.mean()
    variance = float(np.mean(deviations**2))
    if variance <= (_ROUNDING * float(np.abs(differences).max())) ** 2:
        return None
    return float(np.mean(deviations**3) / variance**1.5 * np.sqrt(n * (n - 1)) / (n - 2))


def is_skewed(differences: Differences) -> bool:
    """Whether the skewness is beyond two standard errors of that of Gaussian differences.

    So it is in about 5% of Gaussian samples, and in few samples of fewer than six.
    """
    estimate, n = skewness(differences), differences.size
    if estimate is None:
        return False
    return abs(estimate) > 2 * math.sqrt(6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)))


def probability_of_improvement(gains: Differences) -> float:
    """The share of seeds that gain, where a draw counts half."""
    return float(np.mean(gains > 0) + np.mean(gains == 0) / 2)


def improvement_interval(gains: Differences) -> tuple[float, float]:
    """A 95% interval of the probability that a seed gains, plus half that of a draw.

    The seeds are pairs of runs, so each is one trial: the interval is Clopper's and Pearson's
    (1934) of the share of gains. A draw is left out of neither side: at the low end it counts
    against, at the high end for, which is right whatever draws stand for. So the interval covers at
    least as often as it says, for any distribution of independent pairs; without draws it is
    exactly Clopper's and Pearson's.

    Args:
        gains: one per seed, at least one; above zero where the arm is better.
    """
    n, tail = gains.size, (1 - CONFIDENCE) / 2
    gained, not_lost = int(np.sum(gains > 0)), int(np.sum(gains >= 0))
    low = betaincinv(gained, n - gained + 1, tail) if gained else 0.0
    high = betaincinv(not_lost + 1, n - not_lost, 1 - tail) if not_lost < n else 1.0
    return float(low), float(high)
