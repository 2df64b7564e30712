"""The interval of the probability that one arm is better than another on a seed."""

from math import comb

import numpy as np
import pytest
import scipy.stats

from xception_jax.statistics.paired import improvement_interval, probability_of_improvement


def gains(better: int, worse: int, draws: int = 0) -> np.ndarray:
    return np.repeat([0.5, -0.25, 0.0], [better, worse, draws])


@pytest.mark.parametrize("n", [1, 4, 8, 32])
def test_without_draws_it_is_the_exact_interval_of_scipy(n: int) -> None:
    for better in range(n + 1):
        expected = scipy.stats.binomtest(better, n).proportion_ci(0.95, "exact")
        # Quantiles of the beta distribution from two libraries.
        np.testing.assert_allclose(
            improvement_interval(gains(better, n - better)), tuple(expected), atol=1e-9
        )


@pytest.mark.parametrize("n", [4, 8, 16])
def test_it_covers_whatever_the_share_of_draws(n: int) -> None:
    """Exact coverage by summing over all outcomes: at least 95% for every truth on a grid."""
    outcomes = [(b, d, n - b - d) for b in range(n + 1) for d in range(n + 1 - b)]
    intervals = [improvement_interval(gains(b, w, d)) for b, d, w in outcomes]
    ways = [comb(n, b) * comb(n - b, d) for b, d, _ in outcomes]
    for draw in (0.0, 0.02, 0.2, 0.5, 0.9):
        for better in np.linspace(0, 1 - draw, 41):
            worse = max(1 - draw - better, 0.0)
            truth = better + draw / 2
            covered = sum(
                way * better**b * draw**d * worse**w
                for way, (b, d, w), (low, high) in zip(ways, outcomes, intervals, strict=True)
                if low - 1e-12 <= truth <= high + 1e-12
            )
            assert covered >= 0.95 - 1e-9, (draw, better)


def test_it_holds_the_estimate_and_widens_with_draws() -> None:
    for better, worse, draws in ((5, 3, 0), (4, 2, 2), (0, 0, 8), (8, 0, 0), (0, 8, 0)):
        found = gains(better, worse, draws)
        low, high = improvement_interval(found)
        assert low <= probability_of_improvement(found) <= high
    assert improvement_interval(gains(0, 0, 8)) == (0.0, 1.0)
    assert improvement_interval(gains(8, 0))[1] == 1.0
    # (1 - level)^(1/n) is the end that a sample without any failure has.
    assert improvement_interval(gains(8, 0))[0] == pytest.approx(0.025 ** (1 / 8))


def test_coverage_of_simulated_pairs(rng: np.random.Generator) -> None:
    """Skewed differences of 8 pairs, one pair in ten a draw: 95% or more within three errors."""
    sweeps, shift = 4000, 0.4
    differences = rng.exponential(1.0, (sweeps, 8)) - 1 + shift
    differences[rng.random(differences.shape) < 0.1] = 0.0
    truth = 0.9 * np.exp(-(1 - shift)) + 0.05
    intervals = [improvement_interval(row) for row in differences]
    covered = np.mean([low <= truth <= high for low, high in intervals])
    assert covered >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / sweeps)
