"""A band around a mean curve that holds over all steps at once."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from xception_jax.statistics.paired import CONFIDENCE

DRAWS = 2_000
_BYTES = 32e6  # of one block of simulated curves
_MANY_SEEDS = (
    64  # with which a draw of a normal for every two of them takes most of a report's time
)


@dataclass(frozen=True)
class Band:
    """A mean curve with a simultaneous band.

    Attributes:
        mean: the mean curve.
        low: lower edge of the band.
        high: upper edge of the band.
        critical: half the height of the band, in standard errors of the mean.
    """

    mean: Float[np.ndarray, " steps"]
    low: Float[np.ndarray, " steps"]
    high: Float[np.ndarray, " steps"]
    critical: float


def simultaneous_band(
    curves: Float[np.ndarray, "seeds steps"],
    *,
    draws: int = DRAWS,
) -> Band:
    """Max-t band: with a probability of 95% the true mean curve lies in it at every step.

    The critical value is the quantile of max over steps of |t|, by a Gaussian multiplier bootstrap
    over seeds: each draw makes as many curves as there are seeds, every one a sum of the seeds'
    residuals with independent standard normal weights, and takes their t statistic at every step
    with the draw's own standard deviation. At a single step this is Student's t interval.

    Args:
        curves: one curve per seed (a paired difference, say), finite, of at least two seeds.
        draws: number of draws of the bootstrap.

    Coverage of the 95% band for Gaussian curves of 50 steps, measured with 1,000 sweeps each, so
    +-0.014 (CPU; as `tests/statistics/test_bands.py` does with more): 0.94 for 5 seeds, 0.96 for 10
    and 0.95 for 20, of curves that are correlated over 5 steps; 0.96 and 0.94 for 5 and 10 seeds
    over 25 steps. For 3 seeds it is 0.88: so few residuals do not tell how steps hang together.

    Raises:
        ValueError: fewer than two seeds, no step, or a value that is not finite.
    """
    if curves.ndim != 2 or curves.shape[0] < 2 or not curves.shape[1]:
        raise ValueError(f"needs two seeds and one step, and got an array of shape {curves.shape}")
    if not np.isfinite(curves).all():
        raise ValueError("every value must be finite")
    n = len(curves)
    mean = curves.mean(axis=0)
    deviation = curves.std(axis=0, ddof=1)
    # Steps at which all seeds agree have no error to standardize, and a band of no height.
    varies = deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300)
    critical = 0.0
    if varies.any():
        residuals = (curves[:, varies] - mean[varies]) / deviation[varies] / np.sqrt(n - 1)
        critical = _critical(residuals.astype(np.float32), draws, np.random.default_rng(0))
    half = np.where(varies, critical * deviation / np.sqrt(n), 0.0)
    return Band(mean, mean - half, mean + half, critical)


def _critical(
    residuals: Float[np.ndarray, "seeds steps"], draws: int, generator: np.random.Generator
) -> float:
    """The quantile of max |t| over steps; the columns of `residuals` have unit length."""
    n, steps = residuals.shape
    if n > max(steps, _MANY_SEEDS):  # so few rows of the same covariance: the same distribution
        residuals = np.linalg.qr(residuals).R
    rows = len(residuals)
    block = max(1, int(_BYTES / (8 * n * steps)))
    highest = []
    for start in range(0, draws, block):
        size = (min(block, draws - start), n, rows)
        weights = generator.standard_normal(size, dtype=np.float32)
        simulated = weights @ residuals
        mean = simulated.mean(axis=1)
        simulated -= mean[:, None]
        squares = np.einsum("bns,bns->bs", simulated, simulated)
        error = np.sqrt(squares / (n * (n - 1)))
        highest.append((np.abs(mean) / error).max(axis=1))
    return float(np.quantile(np.concatenate(highest), CONFIDENCE))
