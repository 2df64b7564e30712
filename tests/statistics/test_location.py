"""Intervals that invert tests: against p-values at every shift, and against SciPy's."""

import itertools

import numpy as np
import pytest
from scipy import stats

from tests.statistics.enumeration import sign_flip_p_values
from xception_jax.statistics.location import LocationTest

Draw = np.random.Generator


def differences_of(rng: Draw, kind: str, n: int) -> np.ndarray:
    if kind == "ties":  # as accuracies on few images: many differences and sums are equal
        return np.round(rng.normal(0.3, 1, n), 1)
    values = rng.lognormal(0, 1, n) - 0.5 if kind == "skewed" else rng.normal(0.5, 1, n)
    if kind == "diverged":
        values[rng.integers(n)] -= 60
    return values


@pytest.mark.parametrize("kind", ["gaussian", "skewed", "diverged", "ties"])
@pytest.mark.parametrize("n", [6, 8, 11])
@pytest.mark.parametrize("tail", [0.025, 0.05, 0.0125])
def test_the_interval_holds_what_the_test_does_not_reject(
    rng: Draw, kind: str, n: int, tail: float
) -> None:
    differences = differences_of(rng, kind, n)
    low, high = LocationTest(differences).interval(tail)
    if np.isinf(low):
        assert 2**-n >= tail
        return
    # Every end is the mean of a subset: all of them, and the values between them, are tried.
    subsets = itertools.chain.from_iterable(itertools.combinations(range(n), k) for k in range(n))
    means = np.unique([differences[list(each)].mean() for each in subsets if each])
    means = rng.choice(means, min(150, means.size), replace=False)
    means = np.concatenate(
        [means, rng.uniform(low, high, 50), [low - 1e-6, high + 1e-6, low, high]]
    )
    shifted = differences - means[:, None]
    above = sign_flip_p_values(shifted, one_sided=True)
    below = sign_flip_p_values(-shifted, one_sided=True)
    kept = np.minimum(above, below) >= tail
    slack = 1e-8 * np.abs(differences).max()
    assert np.all(kept[(means >= low + slack) & (means <= high - slack)])
    assert not np.any(kept[(means < low - slack) | (means > high + slack)])


@pytest.mark.parametrize("test", ["mean", "median"])
@pytest.mark.parametrize("n", [4, 6, 7, 10, 26])
def test_the_interval_leaves_zero_out_exactly_where_p_is_below_five_percent(
    rng: Draw, test: str, n: int
) -> None:
    decided = 0
    for _ in range(300 if n <= 20 else 20):
        # Few decimals, so that many sums are zero but for rounding.
        sample = LocationTest(np.round(rng.normal(0.6, 1, n), 1) * 0.1, test, draws=999)
        low, high = sample.interval(0.025)
        assert (low > 0 or high < 0) == (sample.p() < 0.05)
        decided += low > 0
        margin = float(rng.choice([0.1, 0.2]))
        low, high = sample.interval(0.05, (-margin, margin))
        assert (-margin < low and high < margin) == (sample.p_within(margin) < 0.05)
        low, high = sample.interval(0.025, (-margin, margin))
        assert (low > margin or high < -margin) == (sample.p_beyond(margin) < 0.05)
    assert n < 6 or decided


@pytest.mark.parametrize("kind", ["gaussian", "ties"])
@pytest.mark.parametrize("n", [6, 9, 30])
def test_the_sign_test_and_its_interval_are_scipys(rng: Draw, kind: str, n: int) -> None:
    differences = differences_of(rng, kind, n)
    found = LocationTest(differences, "median")
    for null in (0.0, 0.4):
        expected = stats.quantile_test(differences, q=null, p=0.5)
        # Binomial sums of at most 30 terms in float64, 1e-16 each.
        assert found.p(null) == pytest.approx(min(1.0, expected.pvalue), rel=1e-12)
        greater = stats.quantile_test(differences, q=null, p=0.5, alternative="greater")
        assert found.p_above(null) == pytest.approx(greater.pvalue, rel=1e-12)
    low, high = stats.quantile_test(differences, p=0.5).confidence_interval(0.95)
    assert found.interval(0.025) == (low, high)
    assert found.estimate == np.median(differences)


def test_many_seeds_are_bounded_as_the_exact_test_would(rng: Draw) -> None:
    """Of 22 differences, the ends of 100,000 drawn patterns against p-values of all of them."""
    differences = rng.normal(0.2, 1, 22)
    low, high = LocationTest(differences).interval(0.025)
    for end, sign in ((low, 1), (high, -1)):
        sums = np.zeros(1)
        for value in sign * (differences - end):
            sums = np.concatenate([sums + value, sums - value])
        p = np.mean(sums >= sign * (differences - end).sum() - 1e-9)
        # 200,000 patterns in opposite pairs, no worse than 100,000 independent ones.
        assert p == pytest.approx(0.025, abs=5 * np.sqrt(0.025 * 0.975 / 100_000))


def test_equal_differences_have_an_interval_of_one_point() -> None:
    for n in (8, 30):
        assert LocationTest(np.full(n, 0.25)).interval(0.025) == pytest.approx((0.25, 0.25))
        assert LocationTest(np.zeros(n)).interval(0.025) == (0.0, 0.0)
        assert LocationTest(np.zeros(n)).p() == 1.0
