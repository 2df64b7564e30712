"""Error rates, coverage and power, by simulation with fresh random inputs."""

import numpy as np
import pytest

from xception_jax.statistics.paired import (
    bca_interval,
    expanded,
    holm,
    sign_flip_p,
    t_interval,
    within_margin_p,
)
from xception_jax.statistics.power import ALPHA, minimum_detectable_effect, power

pytestmark = pytest.mark.slow
TRIALS = 6_000


def deviations(share: float, trials: int = TRIALS) -> float:
    """Three standard deviations of a share that is counted in so many trials."""
    return 3 * np.sqrt(share * (1 - share) / trials)


@pytest.mark.parametrize("n", [6, 8, 10])
def test_one_false_verdict_in_twenty_sweeps_at_most(rng: np.random.Generator, n: int) -> None:
    """Three arms against one baseline, no effect anywhere; tails heavier than Gaussian."""
    wrong = 0
    for _ in range(TRIALS):
        arms = rng.standard_t(3, (3, n)) - rng.standard_t(3, n) + rng.normal(size=n)
        wrong += bool((holm([sign_flip_p(each) for each in arms]) < ALPHA).any())
    assert wrong / TRIALS <= ALPHA + deviations(ALPHA)


@pytest.mark.parametrize("n", [6, 10])
def test_equivalence_is_rarely_found_at_the_margin(rng: np.random.Generator, n: int) -> None:
    found = [within_margin_p(rng.normal(0.7, 1, n), 0.7) < ALPHA for _ in range(TRIALS)]
    assert np.mean(found) <= ALPHA + deviations(ALPHA)


@pytest.mark.parametrize("n", [4, 8, 10, 12, 20])
def test_intervals_cover_the_truth_in_95_of_100(rng: np.random.Generator, n: int) -> None:
    samples = rng.normal(0.3, 1, (TRIALS, n))
    if n < 10:
        intervals = [t_interval(sample) for sample in samples]
    else:
        confidence = expanded(0.95, n)
        intervals = [bca_interval(sample, confidence, resamples=5_000) for sample in samples]
    covered = np.mean([low <= 0.3 <= high for low, high in intervals])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_plain_bootstrap_intervals_of_ten_seeds_are_too_short(rng: np.random.Generator) -> None:
    """Why they are expanded."""
    samples = rng.normal(size=(TRIALS, 10))
    intervals = [bca_interval(sample, 0.95, resamples=5_000) for sample in samples]
    assert np.mean([low <= 0 <= high for low, high in intervals]) < 0.95 - 0.015


@pytest.mark.parametrize(("n", "gap"), [(6, 0.09), (7, 0.045), (8, 0.02), (12, 0.02)])
def test_effects_are_found_as_often_as_theory_says(
    rng: np.random.Generator, n: int, gap: float
) -> None:
    """Within the gap between the sign-flip test and Student's at the same level.

    The gap is largest at 6 seeds, where only samples of one sign have a p below 5%: of 2,000
    samples 0.66 and 0.73 were found where theory says 0.74 and 0.80; at 8 seeds 0.94 and 0.80 of
    0.95 and 0.80.
    """
    detectable = minimum_detectable_effect(n)
    assert detectable is not None
    for effect in (1.5, detectable):
        samples = rng.normal(effect, 1, (TRIALS, n))
        found = float(np.mean([sign_flip_p(sample) < ALPHA for sample in samples]))
        assert found == pytest.approx(power(effect, n), abs=gap + deviations(found))
