"""Power and detectable effects, against closed forms and against simulations written anew."""

import numpy as np
import pytest
from scipy import stats

from tests.statistics.enumeration import sign_flip_p_values
from xception_jax.statistics import power
from xception_jax.statistics.location import LocationTest
from xception_jax.statistics.power import (
    POWER,
    Design,
    claim_power,
    draws_of,
    equal_correlation,
    minimum_detectable_effect,
    needed_n,
)

Draw = np.random.Generator


def within(share: float, *counts: int) -> float:
    """Four standard deviations of the difference of shares that are counted in so many draws."""
    return 4 * np.sqrt(sum(max(share * (1 - share), 1e-3) / count for count in counts))


def correlated(rng: Draw, trials: int, n: int, value: float) -> np.ndarray:
    """Two endpoints of unit variance: [endpoint, trial, seed]."""
    first, other = rng.standard_normal((2, trials, n))
    return np.stack([first, value * first + np.sqrt(1 - value**2) * other])


@pytest.mark.parametrize(("n", "alpha"), [(6, 0.05), (7, 0.025), (8, 0.0125)])
def test_where_only_samples_of_one_sign_reject_the_power_is_in_closed_form(
    n: int, alpha: float
) -> None:
    for effect in (0.8, 1.5):
        expected = stats.norm.cdf(effect) ** n
        found = claim_power([effect], n, Design(alpha))
        assert found == pytest.approx(expected, abs=within(expected, draws_of(n)))


def test_students_test_at_the_attainable_level_promises_too_much() -> None:
    n, effect = 7, 1.55
    promised = stats.nct(n - 1, effect * np.sqrt(n)).sf(stats.t(n - 1).isf(2.0**-n))
    assert claim_power([effect], n, Design(0.025)) < promised - 0.05


@pytest.mark.parametrize("value", [0.0, 0.6, -0.5])
def test_a_claim_of_two_endpoints_is_found_as_often_as_simulated(rng: Draw, value: float) -> None:
    n, effects, trials, alpha = 8, [1.6, 1.3], 8_000, 0.025
    samples = correlated(rng, trials, n, value) + np.reshape(effects, (2, 1, 1))
    p_values = [sign_flip_p_values(endpoint) for endpoint in samples]
    right = (samples.mean(axis=2) > 0).all(axis=0)
    expected = float(np.mean((np.max(p_values, axis=0) < alpha) & right))
    found = claim_power(effects, n, Design(alpha, equal_correlation(2, value)))
    assert found == pytest.approx(expected, abs=within(expected, trials, draws_of(n)))


@pytest.mark.parametrize("test", ["mean", "median"])
def test_equivalence_is_found_as_often_as_simulated(rng: Draw, test: str) -> None:
    n, effect, margin, trials = 9, 0.2, 1.3, 4_000
    samples = rng.normal(effect, 1, (trials, n))
    p_values = [LocationTest(sample, test).p_within(margin) for sample in samples]
    expected = float(np.mean(np.array(p_values) < 0.05))
    design = Design(equivalence=True, test=test)
    found = claim_power([effect], n, design, [margin])
    assert found == pytest.approx(expected, abs=within(expected, trials, draws_of(n)))


@pytest.mark.parametrize("n", [8, 20])
def test_the_sign_tests_power_is_binomial(n: int) -> None:
    effect = 0.9
    share = stats.norm.cdf(effect)
    fewest = next(k for k in range(n + 1) if stats.binom.sf(k - 1, n, 0.5) < 0.025)
    expected = stats.binom.sf(fewest - 1, n, share)
    found = claim_power([effect], n, Design(test="median"))
    assert found == pytest.approx(expected, abs=within(expected, draws_of(n)))


def test_many_seeds_have_students_power() -> None:
    """From a hundred seeds on the sign-flip test is Student's to a part in a hundred."""
    for effect in (0.2, 0.3):
        expected = stats.nct(99, effect * 10).sf(stats.t(99).isf(0.025))
        found = claim_power([effect], 100, Design())
        assert found == pytest.approx(expected, abs=within(expected, draws_of(100)) + 0.005)


@pytest.mark.parametrize(
    ("n", "alpha", "trials"),
    [
        (13, 0.05, 1_500),
        (14, 0.0125, 1_500),
        pytest.param(13, 0.005, 20_000, marks=pytest.mark.slow),
        pytest.param(13, 0.001, 20_000, marks=pytest.mark.slow),
        pytest.param(16, 0.05, 20_000, marks=pytest.mark.slow),
        pytest.param(16, 0.005, 20_000, marks=pytest.mark.slow),
    ],
)
def test_expanded_ends_give_the_exact_tests_power(
    rng: Draw, n: int, alpha: float, trials: int
) -> None:
    """Of the same samples, so that the shares differ by less than independent ones would."""
    samples = rng.standard_normal((trials, n))
    found = power.lower_ends(samples, alpha / 2)
    exact = np.array([LocationTest(sample).interval(alpha / 2)[0] for sample in samples])
    for share in (0.5, 0.8, 0.95):
        effect = -np.quantile(exact, 1 - share)
        changed = np.mean(found > -effect) - np.mean(exact > -effect)
        disagreeing = np.mean((found > -effect) != (exact > -effect))
        assert abs(changed) <= 0.005 + 4 * np.sqrt(disagreeing / trials)


def test_the_smallest_subset_means_are_those_of_the_smallest_differences(rng: Draw) -> None:
    samples = rng.standard_normal((20, 14))
    tail = 12.5 / 2**14  # the 12th of 16,383 subset means
    exact = [LocationTest(sample).interval(tail)[0] for sample in samples]
    np.testing.assert_allclose(power.lower_ends(samples, tail), exact, rtol=1e-12)


@pytest.mark.parametrize(
    ("n", "design"),
    [
        (6, Design()),
        (9, Design(0.025, equal_correlation(2, 0.4))),
        (30, Design(0.05 / 3, equal_correlation(3, 0.0))),
        (9, Design(equivalence=True)),
        (15, Design(test="median")),
    ],
)
def test_detectable_effects_have_the_power_that_is_stated(
    rng: Draw, n: int, design: Design
) -> None:
    effect = minimum_detectable_effect(n, design)
    assert effect is not None
    count = len(design.correlation)
    effects, margins = [effect * (1 + 1e-9)] * count, []
    if design.equivalence:
        effects, margins = [0.0] * count, effects
    # A share of so many draws goes up by one of them at a time, or where two are alike by two.
    assert claim_power(effects, n, design, margins) == pytest.approx(POWER, abs=2 / draws_of(n))
    # Fresh draws: four standard deviations of them and of those that the effect is from.
    trials = 4_000
    mixing = np.linalg.cholesky(np.asarray(design.correlation))
    fresh = np.tensordot(mixing, rng.standard_normal((count, trials, n)), axes=1)
    low = np.array([power.lower_ends(each, design.tail, design.test) for each in fresh])
    is_found = low > -effect
    if design.equivalence:
        high = -np.array([power.lower_ends(-each, design.tail, design.test) for each in fresh])
        is_found &= high < effect
    share = is_found.all(axis=0).mean()
    assert share == pytest.approx(POWER, abs=within(POWER, trials, draws_of(n)))


def test_needed_numbers_are_the_least_that_have_the_power() -> None:
    design = Design(0.025, equal_correlation(2, 0.3))
    for effects in ([0.5, 0.9], [1.2, 1.2]):
        n = needed_n(effects, design)
        assert n is not None
        # Of 2,500 simulated sweeps for each number.
        assert claim_power(effects, n, design) >= POWER - 0.03
        assert claim_power(effects, n - 2, design) <= POWER + 0.03
    inside = Design(equivalence=True)
    n = needed_n([-0.1], inside, [0.5])
    assert n is not None
    assert claim_power([-0.1], n, inside, [0.5]) == pytest.approx(POWER, abs=0.03)
    assert needed_n([0.0], Design()) is None
    assert needed_n([0.001], Design()) is None
    assert needed_n([1e9], Design()) == 6
    assert needed_n([1e9], Design(0.025)) == 7
    assert minimum_detectable_effect(5, Design()) is None
    assert minimum_detectable_effect(6, Design(0.025)) is None


def test_ten_thousand_seeds_are_planned_at_once() -> None:
    effect = minimum_detectable_effect(10_000, Design())
    # The z test with a known deviation.
    assert effect == pytest.approx((stats.norm.isf(0.025) + stats.norm.isf(0.2)) / 100, rel=0.03)
