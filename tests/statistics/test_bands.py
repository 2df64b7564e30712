"""The simultaneous band: exact where theory says what it must be, and covering by simulation."""

import numpy as np
import pytest
import scipy.stats

from xception_jax.statistics import bands
from xception_jax.statistics.bands import simultaneous_band


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Gaussian curves of unit variance whose correlation falls to exp(-1/2) over `scale` steps."""
    at = np.arange(shape[-1])
    covariance = np.exp(-0.5 * ((at[:, None] - at) / scale) ** 2) + 1e-9 * np.eye(len(at))
    return rng.standard_normal(shape) @ np.linalg.cholesky(covariance).T


@pytest.mark.parametrize("n", [3, 6, 20])
def test_one_step_has_the_t_interval_of_scipy(n: int, rng: np.random.Generator) -> None:
    values = rng.normal(0.3, 0.1, size=(n, 1))
    band = simultaneous_band(values, draws=200_000)
    low, high = scipy.stats.t.interval(0.95, n - 1, values.mean(), scipy.stats.sem(values)[0])
    # The quantile of 200,000 draws: its standard error is below 1% of it for n >= 3.
    bounds = np.array([band.low[0], band.high[0]]) - values.mean()
    expected = np.array([low, high]) - values.mean()
    np.testing.assert_allclose(bounds, expected, rtol=0.04)
    assert band.mean[0] == pytest.approx(values.mean())


def test_steps_that_repeat_each_other_count_once(rng: np.random.Generator) -> None:
    values = rng.normal(size=(8, 1))
    repeated = values * np.array([1.0, 2.0, 0.5]) + np.array([0.0, 3.0, -1.0])
    alone = simultaneous_band(values)
    assert simultaneous_band(repeated).critical == pytest.approx(alone.critical)


def test_more_steps_need_a_wider_band_and_at_most_that_of_bonferroni(
    rng: np.random.Generator,
) -> None:
    values = rng.normal(size=(10, 20))
    critical = simultaneous_band(values, draws=4_000).critical
    assert scipy.stats.t.ppf(0.975, 9) < critical < scipy.stats.t.ppf(1 - 0.025 / 20, 9) * 1.05


def test_steps_without_spread_have_no_height() -> None:
    values = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 4.0]])
    band = simultaneous_band(values)
    assert band.high[:2].tolist() == band.low[:2].tolist() == [0.0, 1.0]
    assert band.high[2] > 3 > band.low[2]


def test_a_draw_in_which_three_seeds_are_alike_leaves_the_band_finite() -> None:
    """Their variance, taken as the difference of two squares, comes out negative in float32.

    The angles were searched for: there the three curves of one of the draws, whose generator is
    fixed, lie closest together.
    """
    angle = np.linspace(1.6193, 1.6213, 50)
    curves = np.outer([1, -1, 0], np.cos(angle)) / np.sqrt(2)
    curves += np.outer([1, 1, -2], np.sin(angle)) / np.sqrt(6)
    band = simultaneous_band(curves)
    assert np.isfinite([band.low, band.high]).all()
    # At every step the seeds differ in the same way but for 0.001: it is about Student's interval,
    # within the error of a quantile of 2,000 draws.
    assert band.critical == pytest.approx(scipy.stats.t.ppf(0.975, 2), rel=0.2)


@pytest.mark.parametrize(
    ("curves", "reason"),
    [
        (np.zeros((1, 5)), "needs two seeds and one step"),
        (np.zeros((3, 0)), "needs two seeds and one step"),
        (np.array([[1.0], [np.nan]]), "must be finite"),
    ],
)
def test_what_has_no_band_is_refused(curves: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        simultaneous_band(curves)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "scale"), [(5, 5.0), (5, 25.0), (10, 5.0), (10, 25.0), (20, 5.0)])
def test_the_band_holds_the_whole_mean_curve_in_95_of_100_sweeps(
    n: int, scale: float, rng: np.random.Generator
) -> None:
    """True mean curve inside the band at all of 50 steps at once, in 95% of sweeps."""
    sweeps = 4_000
    covered = 0
    for _ in range(sweeps):
        band = simultaneous_band(smooth_noise(rng, (n, 50), scale), draws=500)
        covered += bool(((band.low <= 0) & (band.high >= 0)).all())
    share = covered / sweeps
    print(f"n = {n}, correlation over {scale:g} of 50 steps: {share:.4f}")
    # 4 standard errors of the share (0.0034 each), beside 1 point of the 500 draws' quantile.
    assert abs(share - 0.95) < 0.0138 + 0.01


def test_many_seeds_take_fewer_draws_of_the_same_distribution(
    rng: np.random.Generator, monkeypatch
) -> None:
    """Draws from as many rows as there are steps have the quantile of draws from every seed."""
    curves = rng.normal(size=(20, 12)).cumsum(axis=1)
    critical = {}
    for many_seeds in (0, 1000):
        monkeypatch.setattr(bands, "_MANY_SEEDS", many_seeds)
        critical[many_seeds] = simultaneous_band(curves, draws=50_000).critical
    # They differ by the error of two quantiles of 50,000 draws: by 0.4% of one, measured as the
    # standard deviation over 60 sets of curves. Five of these.
    assert critical[0] == pytest.approx(critical[1000], rel=0.02)
    assert critical[0] != critical[1000]
