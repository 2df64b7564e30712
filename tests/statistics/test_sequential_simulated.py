"""Simulated sweeps with declared looks: errors over claims and looks, power, seeds, coverage.

Bounds come from theory, none from what was simulated. For any distribution of the differences, of
every single sweep (`earliest`, `latest`): a look rejects at least what the fixed test at as many
seeds rejects at the level that the look adds, and nothing beyond what some fixed test rejects at
the level that was spent by then. For Gaussian differences, on average: the group-sequential t-test,
whose boundaries are computed from Brownian motion and checked with published designs.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from tests.statistics.brownian import boundaries, first_crossings
from xception_jax.records import SPENDINGS
from xception_jax.statistics.location import EXACT_UP_TO, LocationTest
from xception_jax.statistics.sequential import LookDesign, SequentialTest

LOOKS = (8, 16, 32)
LEVEL = 0.05
SWEEPS = 1_000
NEVER = 10**6  # in place of a number of seeds: no look rejects
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def unequal_seeds(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Seeds whose spreads differ by a factor of ten, the same seed's in every arm."""
    return rng.normal(size=shape) * np.exp(rng.uniform(0, np.log(10), shape[-1]))


def unequal_arms(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Arms whose spreads differ by a factor of four."""
    return rng.normal(size=shape) * np.linspace(1, 4, shape[0])[:, None]


NOISE: dict[str, Draw] = {
    "gaussian": lambda rng, shape: rng.normal(size=shape),
    "t3": lambda rng, shape: rng.standard_t(3, shape),
    "lognormal": lambda rng, shape: rng.lognormal(size=shape) - np.exp(0.5),
    "unequal seeds": unequal_seeds,
    "unequal arms": unequal_arms,
}
SHIFTS = {"gaussian": 0.78, "t3": 1.2, "lognormal": 1.5, "unequal seeds": 3.1, "unequal arms": 2.2}
"""Differences of two arms that the fixed test finds in most sweeps, in units of their noise."""


def drawn(rng: np.random.Generator, noise: str, seeds: int = LOOKS[-1]) -> np.ndarray:
    """The differences of two arms without an effect."""
    one, other = NOISE[noise](rng, (2, seeds))
    return one - other


def decided(
    values: np.ndarray,
    spending: str,
    level: float = LEVEL,
    looks: tuple[int, ...] = LOOKS,
    test: str = "mean",
) -> int:
    """The number of seeds at the first look that rejects zero; `NEVER`: none does."""
    design = LookDesign(looks, spending)

    def is_rejected(size: int) -> bool:
        return SequentialTest(values[:size], test, design=design).rejects(level)

    if not is_rejected(looks[-1]):  # it counts the looks before, too
        return NEVER
    return next(size for size in looks if is_rejected(size))


# -- what theory says --------------------------------------------------------------------------

# Of Jennison and Turnbull 2000, tables 2.1 to 2.4: looks, boundaries (Pocock's constant; O'Brien
# and Fleming's falls with the root of the look), and by how much the sample grows for 80% and 90%
# power, two-sided 5%.
PUBLISHED = {
    ("pocock", 2): (2.178, 1.110, 1.100),
    ("pocock", 3): (2.289, 1.166, 1.151),
    ("pocock", 5): (2.413, 1.229, 1.207),
    ("obrien_fleming", 2): (1.977, 1.008, 1.007),
    ("obrien_fleming", 3): (2.004, 1.017, 1.016),
    ("obrien_fleming", 5): (2.040, 1.028, 1.026),
}


@pytest.mark.parametrize(("design", "looks"), PUBLISHED)
def test_theory_gives_the_power_of_published_designs(design: str, looks: int) -> None:
    constant, *inflations = PUBLISHED[design, looks]
    shares = [look / looks for look in range(1, looks + 1)]
    falls = 0.5 if design == "obrien_fleming" else 0.0
    bounds = [constant / share**falls for share in shares]
    # Half of the constants' third decimal moves it by some 5e-5.
    assert sum(first_crossings(bounds, shares)) == pytest.approx(0.025, abs=1e-4)
    for power, inflation in zip((0.8, 0.9), inflations, strict=True):
        drift = np.sqrt(inflation) * (stats.norm.isf(0.025) + stats.norm.isf(1 - power))
        # Three printed decimals of the constant and of the inflation: 0.0003 of the power each.
        found = sum(first_crossings(bounds, shares, drift))
        assert found == pytest.approx(power, abs=1e-3)


def budgets(spending: str, level: float = LEVEL) -> list[float]:
    """The one-sided probability that each of the looks can reject with: 8 seeds have 256 signs."""
    design = LookDesign(LOOKS, spending)
    added = [design.added(level / 2, look) for look in range(len(LOOKS))]
    patterns = [2.0 ** min(size, 40) for size in LOOKS]
    return [np.floor(a * n) / n for a, n in zip(added, patterns, strict=True)]


def decided_by_t(values: np.ndarray, spending: str) -> np.ndarray:
    """`decided` for every row, by t-tests at the nominal levels of Brownian motion's boundaries.

    This is the significance-level approach for an unknown spread (Jennison and Turnbull 2000,
    section 4.4; Pocock 1977).
    """
    bounds = boundaries(budgets(spending), [size / LOOKS[-1] for size in LOOKS])
    found = np.full(len(values), NEVER)
    for size, bound in reversed(list(zip(LOOKS, bounds, strict=True))):
        part = values[:, :size]
        t = part.mean(1) / (part.std(1, ddof=1) / np.sqrt(size))
        found[np.abs(t) > stats.t.isf(stats.norm.sf(bound), size - 1)] = size
    return found


def fixed_p(values: np.ndarray) -> float:
    """The smaller one-sided p of the sign-flip test, counted out where they are few enough."""
    test = LocationTest(values)
    return min(test.p_above(), test.p_below())


def limits(values: np.ndarray, design: LookDesign) -> tuple[int, int]:
    """Between which numbers of seeds the first look that rejects must lie, by fixed tests.

    A look rejects the largest sums that are left, as many as it adds to the level. Those that are
    as large as the sum seen are at most the share p of all, so p up to what is added is rejected.
    And what earlier looks have rejected is at most what they have spent: of a sum that is rejected,
    p is at most what is spent by then. Of looks at too many seeds to count nothing is assumed.
    """
    earliest = latest = NEVER
    for look, size in reversed(list(enumerate(design.sizes))):
        least, most = (fixed_p(values[:size]),) * 2 if size <= EXACT_UP_TO else (0.0, 1.0)
        if least <= design.spent(LEVEL / 2, look) * (1 + 1e-9):
            earliest = size
        if most <= design.added(LEVEL / 2, look) * (1 - 1e-9):
            latest = size
    return earliest, latest


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("noise", NOISE)
def test_a_few_sweeps_are_decided_between_their_limits(
    rng: np.random.Generator, noise: str, spending: str
) -> None:
    """All looks have so few seeds that the fixed test counts every pattern, too."""
    looks, seen = (6, 9, 12), set()
    for _ in range(40):
        values = drawn(rng, noise, looks[-1]) + rng.uniform(0, 3) * SHIFTS[noise]
        size = decided(values, spending, looks=looks)
        earliest, latest = limits(values, LookDesign(looks, spending))
        assert earliest <= size <= latest
        seen.add(size)
    assert len(seen) > 1


# -- simulations -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("noise", NOISE)
def test_errors_over_claims_and_looks_stay_below_five_percent(
    rng: np.random.Generator, noise: str, spending: str
) -> None:
    """Holm's method rejects some claim at some look if one is at the first of its levels."""
    wrong = 0
    for _ in range(SWEEPS):
        arms = NOISE[noise](rng, (4, LOOKS[-1]))
        claims = arms[1:] - arms[0]  # three claims share a baseline
        wrong += any(decided(row, spending, LEVEL / len(claims)) < NEVER for row in claims)
    error = np.sqrt(LEVEL * (1 - LEVEL) / SWEEPS)  # 0.7%
    print(f"{noise}, {spending}: {wrong / SWEEPS:.3f} +- {error:.3f}")
    assert wrong / SWEEPS <= LEVEL + 3 * error


@pytest.mark.slow
@pytest.mark.parametrize("spending", SPENDINGS)
def test_skewed_differences_need_the_test_of_the_median(
    rng: np.random.Generator, spending: str
) -> None:
    """The sign test holds whatever the differences are; that of the mean assumes symmetry."""
    samples = rng.lognormal(size=(SWEEPS, LOOKS[-1]))
    wrong = {
        test: np.mean([decided(row - center, spending, test=test) < NEVER for row in samples])
        for test, center in (("median", 1.0), ("mean", np.exp(0.5)))
    }
    error = np.sqrt(LEVEL * (1 - LEVEL) / SWEEPS)
    print(f"{spending}: {wrong} +- {error:.3f}")
    assert wrong["median"] <= LEVEL + 3 * error
    assert wrong["mean"] > LEVEL + 3 * error  # and so the page on verdicts must say what it assumes


@pytest.mark.slow
@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("noise", NOISE)
def test_power_and_seeds_lie_between_those_of_fixed_tests(
    rng: np.random.Generator, noise: str, spending: str
) -> None:
    """In every sweep: it is decided between its limits, and if the last look alone would do it."""
    design = LookDesign(LOOKS, spending)
    # Sums of 32 differences are rounded to cells on either path: to 0.1% of p.
    at_last = 0.99 * 2 * design.added(LEVEL / 2, len(LOOKS) - 1)
    fixed, found, bounds = 0, [], []
    for _ in range(SWEEPS):
        values = SHIFTS[noise] + drawn(rng, noise)
        size, (earliest, latest) = decided(values, spending), limits(values, design)
        assert earliest <= size <= latest
        if decided(values, spending, at_last, LOOKS[-1:]) < NEVER:
            assert size < NEVER
        fixed += decided(values, spending, LEVEL, LOOKS[-1:]) < NEVER
        found.append(size)
        bounds.append((earliest, latest))
    sizes, ends = np.array(found), np.minimum(np.array(bounds), LOOKS[-1]).mean(0)
    seeds = np.minimum(sizes, LOOKS[-1])
    print(
        f"{noise}, {spending}: power {np.mean(sizes < NEVER):.3f} of {fixed / SWEEPS:.3f}, "
        f"{seeds.mean():.1f} +- {seeds.std() / np.sqrt(SWEEPS):.1f} of {LOOKS[-1]} seeds, "
        f"between {ends[0]:.1f} and {ends[1]:.1f}"
    )
    assert seeds.mean() < LOOKS[-1]


@pytest.mark.slow
@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("shift", [0.3, 0.55])
def test_power_and_seeds_are_those_of_the_group_sequential_t_test(
    rng: np.random.Generator, shift: float, spending: str
) -> None:
    """For Gaussian differences the sign-flip test has the power of Student's."""
    values = shift + rng.normal(size=(SWEEPS, LOOKS[-1]))
    sizes = np.array([decided(row, spending) for row in values])
    of_t = decided_by_t(shift + rng.normal(size=(100_000, LOOKS[-1])), spending)
    for name, one, other, rounding in (
        ("power", sizes < NEVER, of_t < NEVER, 0.01),
        ("seeds", np.minimum(sizes, LOOKS[-1]), np.minimum(of_t, LOOKS[-1]), 0.3),
    ):
        error = one.std() / np.sqrt(SWEEPS)
        print(f"{spending}, {shift}: {name} {one.mean():.3f} +- {error:.3f}, t {other.mean():.3f}")
        assert abs(one.mean() - other.mean()) <= 4 * error + rounding


@pytest.mark.slow
@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("noise", NOISE)
def test_intervals_cover_at_whichever_look_a_sweep_ends(
    rng: np.random.Generator, noise: str, spending: str
) -> None:
    """The interval of all looks holds 95%; that of a sweep which stops early holds no less.

    An interval leaves out what was rejected by then, so at the last look the true value lies in it
    in 95% of sweeps, whatever the effect is. A sweep that stops has rejected less by then.
    """
    design, effect = LookDesign(LOOKS, spending), SHIFTS[noise]
    at_last = at_stop = 0
    sweeps = 3 * SWEEPS  # whose error is a quarter of the 1.5 points that coverage may be off
    for number in range(sweeps):
        values = effect + drawn(rng, noise)
        at_last += not SequentialTest(values, design=design).rejects(LEVEL, effect)
        size = min(decided(values, spending), LOOKS[-1])
        test = SequentialTest(values[:size], design=design)
        is_covered = not test.rejects(LEVEL, effect)
        at_stop += is_covered
        if number < 50:  # the interval as it is reported
            low, high = test.interval(LEVEL / 2)
            assert (low <= effect <= high) == is_covered
    error = np.sqrt(LEVEL * (1 - LEVEL) / sweeps)  # 0.4%
    print(f"{noise}, {spending}: {at_last / sweeps:.3f}, {at_stop / sweeps:.3f} +- {error:.3f}")
    spent = 2 * sum(budgets(spending))  # 8 seeds cannot spend all that they might
    assert abs(at_last / sweeps - (1 - spent)) <= 0.015
    assert at_stop >= at_last


def test_a_few_sweeps_without_an_effect_are_seldom_decided(rng: np.random.Generator) -> None:
    sweeps = 60
    wrong = sum(decided(rng.normal(size=LOOKS[-1]), "pocock") < NEVER for _ in range(sweeps))
    assert wrong <= 11  # a binomial of 60 and 5% is larger once in 10,000 times


def test_few_sweeps_cover_their_effect(rng: np.random.Generator) -> None:
    sweeps, looks = 40, (6, 9, 12)
    design, missed = LookDesign(looks, "pocock"), 0
    for _ in range(sweeps):
        values = 1.0 + rng.normal(size=looks[-1])
        size = min(decided(values, "pocock", looks=looks), looks[-1])
        low, high = SequentialTest(values[:size], design=design).interval(LEVEL / 2)
        missed += not low <= 1.0 <= high
    assert missed <= 9  # a binomial of 40 and 5% is larger once in 20,000 times
