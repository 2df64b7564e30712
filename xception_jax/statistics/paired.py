"""Tests and intervals for paired differences, one number a seed.

The seed is the unit: what is tested is the mean difference between two arms over seeds. The tests
are exact for any distribution that is symmetric about its mean, so they ask for no normality; the
intervals and the power (`power.py`) are Student's and the bootstrap's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri, stdtrit

CONFIDENCE = 0.95
EXACT_UP_TO = 20
"""Seeds up to which every one of the 2^n sign patterns is counted."""
FEWEST_FOR_BOOTSTRAP = 10
DRAWS = 100_000
RESAMPLES = 10_000
_ROUNDING = 1e-9  # of sums that are equal but for rounding, in shares of the largest possible sum

Differences = Float[np.ndarray, " seeds"]


@dataclass(frozen=True)
class Interval:
    """A confidence interval and the name of its method."""

    low: float
    high: float
    method: str


# -- tests -------------------------------------------------------------------------------------


def sign_flip_p(
    differences: Differences, *, one_sided: bool = False, draws: int = DRAWS, seed: int = 0
) -> float:
    """The p-value of the sign-flip permutation test that the mean difference is zero.

    Under the null each seed's difference is as likely to have the other sign. Up to 2^20 sign
    patterns all are counted; above, `draws` random ones, and p is (b + 1) / (draws + 1).

    Args:
        differences: one per seed, finite.
        one_sided: count only sums as large as the observed one: the alternative is a positive mean.
        draws: random sign patterns where there are too many to count.
        seed: of the random patterns.
    """
    if not differences.size:
        return 1.0
    slack = _ROUNDING * np.abs(differences).sum()

    def as_extreme(sums: Float[np.ndarray, " patterns"]) -> int:
        observed = differences.sum()
        if one_sided:
            return int(np.count_nonzero(sums >= observed - slack))
        return int(np.count_nonzero(np.abs(sums) >= abs(observed) - slack))

    if differences.size <= EXACT_UP_TO:
        sums = _every_sum(differences)
        return as_extreme(sums) / sums.size
    generator, drawn = np.random.default_rng(seed), np.zeros(draws)
    for part in np.array_split(differences, -(-differences.size // 10)):
        # A random pattern of ten signs is one of 1,024 sums, drawn at once.
        sums = _every_sum(part)
        drawn += sums[generator.integers(0, sums.size, draws)]
    return (as_extreme(drawn) + 1) / (draws + 1)


def _every_sum(differences: Differences) -> Float[np.ndarray, " patterns"]:
    """The sums with all 2^n patterns of signs; the first is that of the differences as they are."""
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    return sums


def within_margin_p(differences: Differences, margin: float) -> float:
    """The p-value of two one-sided tests (TOST) that the mean lies inside (-margin, margin)."""
    above = sign_flip_p(differences + margin, one_sided=True)
    return max(above, sign_flip_p(margin - differences, one_sided=True))


def beyond_margin_p(differences: Differences, margin: float) -> float:
    """The p-value that the mean lies outside [-margin, margin]; two-sided at a margin of zero."""
    above = sign_flip_p(differences - margin, one_sided=True)
    return min(1.0, 2 * min(above, sign_flip_p(-margin - differences, one_sided=True)))


def holm(p_values: Sequence[float]) -> Float[np.ndarray, " tests"]:
    """P-values adjusted by Holm's step-down method, in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


# -- intervals ---------------------------------------------------------------------------------


def mean_interval(differences: Differences, confidence: float = CONFIDENCE) -> Interval:
    """The interval of the mean difference: paired t below 10 seeds, BCa bootstrap from there on.

    The bootstrap is taken at the `expanded` confidence, without which it is too short at such n:
    see `tests/statistics/test_statistics_simulated.py` for the coverage of both.
    """
    n = differences.size
    if n >= FEWEST_FOR_BOOTSTRAP:
        low, high = bca_interval(differences, expanded(confidence, n))
        return Interval(low, high, "BCa bootstrap")
    return Interval(*t_interval(differences, confidence), "paired t")


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
    differences: Differences, confidence: float, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap interval of the mean (Efron 1987)."""
    n, mean = differences.size, float(differences.mean())
    slack = _ROUNDING * np.abs(differences).mean()
    if np.ptp(differences) <= slack:
        return mean, mean
    drawn = np.random.default_rng(seed).integers(0, n, (resamples, n))
    means = differences[drawn].mean(axis=1)
    below = (np.mean(means < mean - slack) + np.mean(means <= mean + slack)) / 2
    bias = ndtri(below)
    # The jackknife's deviations are the differences' own, divided by n - 1: that cancels.
    deviations = differences - mean
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    shifted = bias + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(means, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return float(low), float(high)


def crossed_interval(
    differences: Float[np.ndarray, "seeds examples"],
    confidence: float = CONFIDENCE,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """A bootstrap interval of the mean that takes the examples as a sample, too.

    Seeds and examples are resampled independently of each other (Owen 2007), which errs on the
    long side. Given the seeds drawn, the mean over as many examples drawn is Gaussian but for terms
    of the order of 1 / sqrt(examples), with the mean and the variance that are used here: so the
    examples need no loop. The percentiles are `expanded` for the number of seeds.

    Args:
        differences: of each seed on each example: arm minus baseline.
        confidence: of the interval.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    seeds, examples = differences.shape
    means = differences.mean(axis=1)
    residuals = differences - means[:, None]
    covariance = residuals @ residuals.T / examples
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    variances = ((weights @ covariance) * weights).sum(axis=1) / examples
    noise = generator.standard_normal(resamples) * np.sqrt(np.maximum(variances, 0.0))
    tail = (1 - expanded(confidence, seeds)) / 2
    low, high = np.quantile(weights @ means + noise, [tail, 1 - tail])
    return float(low), float(high)


# -- descriptions ------------------------------------------------------------------------------


def correlation(
    arm: Float[np.ndarray, " seeds"], baseline: Float[np.ndarray, " seeds"]
) -> float | None:
    """Pearson's correlation of two arms over seeds; None where one of them does not vary."""
    one, other = arm - arm.mean(), baseline - baseline.mean()
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    if arm.size < 3 or scale <= _ROUNDING * float(np.sqrt((arm**2).sum() * (baseline**2).sum())):
        return None
    return float(np.clip((one * other).sum() / scale, -1, 1))


def probability_of_improvement(gains: Differences) -> float:
    """The share of seeds that gain, where a draw counts half."""
    return float(np.mean(gains > 0) + np.mean(gains == 0) / 2)
