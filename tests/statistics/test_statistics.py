"""Every statistic against an implementation that is not ours, or against its definition."""

import itertools

import numpy as np
import pytest
from scipy import stats

from xception_jax.statistics.location import LocationTest, least_count, smallest_n, smallest_p
from xception_jax.statistics.paired import (
    bca_interval,
    correlation,
    crossed_interval,
    expanded,
    holm,
    is_skewed,
    other_intervals,
    probability_of_improvement,
    skewness,
    t_interval,
)


def scipy_sign_flip(differences: np.ndarray, alternative: str) -> float:
    result = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative=alternative
    )
    return result.pvalue


@pytest.mark.parametrize("n", [2, 5, 8, 13])
@pytest.mark.parametrize("decimals", [12, 1])  # of the second many sums are equal
def test_sign_flip_test_is_scipys(rng: np.random.Generator, n: int, decimals: int) -> None:
    differences = np.round(rng.normal(0.5, 1, n), decimals)
    # SciPy gets whole numbers for tenths: where the observed sum is 0, it takes sums of tenths that
    # are 0 but for rounding for smaller ones.
    exact = np.round(10 * differences) if decimals == 1 else differences
    expected = scipy_sign_flip(exact, "two-sided")
    assert LocationTest(differences).p() == pytest.approx(expected, abs=1e-12)
    expected = scipy_sign_flip(exact, "greater")
    assert LocationTest(differences).p_above() == pytest.approx(expected, abs=1e-12)


def test_sign_flip_test_counts_ties_that_rounding_hides() -> None:
    # Each sum with the signs of two equal differences swapped is as extreme as the observed one.
    differences = np.array([0.9 - 0.8, 0.8 - 0.7, 0.7 - 0.8, 0.3 - 0.2, 0.6 - 0.5, 0.5 - 0.4])
    whole = np.round(10 * differences)
    counted = sum(
        abs(np.dot(signs, whole)) >= abs(whole.sum())
        for signs in itertools.product((1, -1), repeat=6)
    )
    assert LocationTest(differences).p() == counted / 64


def test_random_sign_patterns_come_near_all_of_them(rng: np.random.Generator) -> None:
    differences = rng.normal(0.25, 1, 22)
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    exact = np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-9)
    draws = 100_000
    p = LocationTest(differences, draws=draws).p()
    # Five standard deviations of a share of so many draws, and the pattern that is added.
    assert p == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / draws) + 2 / draws)
    assert p * (draws + 1) == pytest.approx(round(p * (draws + 1)))
    assert LocationTest(np.full(60, 1.0), draws=999).p() == 1 / 1000  # never zero


def test_five_seeds_cannot_reach_five_percent_and_six_can() -> None:
    assert LocationTest(np.arange(1.0, 6.0)).p() == 0.0625
    assert LocationTest(np.arange(1.0, 7.0)).p() == 0.03125
    assert smallest_n(0.05) == 6
    assert smallest_p(5) == 0.0625
    assert LocationTest(np.arange(1.0, 6.0)).interval(0.025) == (-np.inf, np.inf)
    assert LocationTest(np.arange(1.0, 7.0)).interval(0.025) == (1.0, 6.0)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("n", [4, 5, 6, 8, 11])
def test_the_least_count_is_that_of_the_largest_p_below_alpha(n: int, one_sided: bool) -> None:
    # With differences 1, 2, 4, … every sign pattern has a sum of its own.
    values = 2.0 ** np.arange(n)
    patterns = itertools.product((1, -1), repeat=n)
    tests = [LocationTest(values * signs) for signs in patterns]
    p_values = {test.p_above() if one_sided else test.p() for test in tests}
    below = max((p for p in p_values if p < 0.05), default=0.0)
    sides = 1 if one_sided else 2
    assert sides * least_count(n, 0.05 / sides, "mean") / 2**n == below


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", [3, 25])
def test_what_is_not_finite_is_refused(value: float, n: int) -> None:
    differences = np.append(np.ones(n), value)
    with pytest.raises(ValueError, match="finite"):
        LocationTest(differences)
    with pytest.raises(ValueError, match="finite"):
        LocationTest(differences, "median")


def test_equivalence_is_two_one_sided_tests(rng: np.random.Generator) -> None:
    differences, margin = rng.normal(0.2, 0.5, 9), 0.6
    expected = max(
        scipy_sign_flip(differences + margin, "greater"),
        scipy_sign_flip(differences - margin, "less"),
    )
    test = LocationTest(differences)
    # Here and below, shares of 512 sign patterns in float64.
    assert test.p_within(margin) == pytest.approx(expected, abs=1e-12)
    beyond = min(
        scipy_sign_flip(differences - margin, "greater"),
        scipy_sign_flip(differences + margin, "less"),
    )
    assert test.p_beyond(margin) == pytest.approx(min(1, 2 * beyond), abs=1e-12)
    assert test.p_beyond(0.0) == pytest.approx(LocationTest(differences).p())


def test_holm_is_the_closure_of_bonferroni(rng: np.random.Generator) -> None:
    p = rng.uniform(0, 0.2, 5)
    every = [s for size in range(1, 6) for s in itertools.combinations(range(5), size)]
    closed = [max(len(s) * min(p[list(s)]) for s in every if i in s) for i in range(5)]
    # Products with at most 5 in float64, 1e-16 each.
    np.testing.assert_allclose(holm(p.tolist()), np.minimum(closed, 1), rtol=1e-12)
    np.testing.assert_allclose(holm([0.5, 0.5]), [1, 1])


def test_student_interval_is_scipys(rng: np.random.Generator) -> None:
    arm, baseline = rng.normal(size=(2, 7))
    expected = stats.ttest_rel(arm, baseline).confidence_interval(0.9)
    # A mean, a deviation and a quantile in float64: 1e-16 each, more of an end near 0.
    np.testing.assert_allclose(t_interval(arm - baseline, 0.9), expected, rtol=1e-10)
    found = other_intervals(arm - baseline)
    assert found == {"paired t": list(t_interval(arm - baseline, 0.95))}


@pytest.mark.parametrize("decimals", [12, 1])
def test_bootstrap_interval_is_scipys(rng: np.random.Generator, decimals: int) -> None:
    differences = np.round(rng.exponential(1, 15), decimals)
    expected = stats.bootstrap(
        (differences,), np.mean, method="BCa", confidence_level=0.97, n_resamples=20_000, rng=rng
    )
    found = bca_interval(differences, 0.97, resamples=20_000)
    # Both are random: the standard deviation of such a percentile is below 2% of the interval.
    length = np.diff(expected.confidence_interval).item()
    np.testing.assert_allclose(found, expected.confidence_interval, atol=0.1 * length)
    if decimals == 1:
        return  # means that are equal but for rounding: scipy takes some of them for different
    again = stats.bootstrap(
        (differences,), np.mean, method="BCa", confidence_level=0.97, n_resamples=20_000,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    np.testing.assert_allclose(found, again.confidence_interval, rtol=1e-9)


def test_from_ten_seeds_on_the_bootstraps_interval_stands_beside(rng: np.random.Generator) -> None:
    differences = rng.normal(size=10)
    found = other_intervals(differences)
    quantile = np.sqrt(10 / 9) * stats.t(9).ppf(0.975)
    # A quantile and a tail in float64, 1e-16 each.
    assert expanded(0.95, 10) == pytest.approx(1 - 2 * stats.norm.sf(quantile), rel=1e-12)
    assert found["BCa bootstrap"] == list(bca_interval(differences, expanded(0.95, 10)))
    assert other_intervals(np.full(12, 0.25))["BCa bootstrap"] == [0.25, 0.25]


def test_crossed_bootstrap_is_what_resampling_both_gives(rng: np.random.Generator) -> None:
    seeds, examples = 6, 400
    ease, shift = rng.uniform(0.5, 1, examples), rng.normal(0.05, 0.05, (seeds, 1))
    right = rng.uniform(size=(2, seeds, examples)) < np.stack(
        [np.clip(ease + shift, 0, 1), np.tile(ease, (seeds, 1))]
    )
    differences = right[0].astype(float) - right[1]
    means = []
    for _ in range(4_000):
        rows, columns = rng.integers(0, seeds, seeds), rng.integers(0, examples, examples)
        means.append(differences[rows][:, columns].mean())
    tail = (1 - expanded(0.95, seeds)) / 2
    expected = np.quantile(means, [tail, 1 - tail])
    # A percentile of 4,000 draws, that far out, has a standard deviation of 2% of the interval.
    length = np.diff(expected).item()
    np.testing.assert_allclose(crossed_interval(differences), expected, atol=0.1 * length)
    low, high = bca_interval(differences.mean(axis=1), expanded(0.95, seeds))
    assert length > high - low  # examples are noise, too


def test_correlation_and_skewness_are_scipys_and_none_where_nothing_varies(
    rng: np.random.Generator,
) -> None:
    arm, baseline = rng.normal(size=(2, 8))
    assert correlation(arm, baseline) == pytest.approx(stats.pearsonr(arm, baseline).statistic)
    assert correlation(np.full(8, 0.1), baseline) is None
    assert correlation(arm[:2], baseline[:2]) is None
    assert correlation(np.zeros(0), np.zeros(0)) is None  # no "mean of empty slice"
    assert skewness(arm) == pytest.approx(stats.skew(arm, bias=False))
    assert skewness(np.full(8, 0.1)) is None
    assert skewness(arm[:2]) is None
    assert is_skewed(np.array([0.01, 0.0, -0.01, 0.02, 0.01, -0.75, 0.0, 0.01]))
    assert not is_skewed(np.arange(8.0))
    assert probability_of_improvement(np.array([1.0, 0.0, -2.0, 3.0])) == 0.625
