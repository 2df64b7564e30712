"""The test at declared looks, against all sign patterns and published boundaries."""

import itertools
import math

import numpy as np
import pytest

from tests.statistics.brownian import first_crossings
from tests.statistics.enumeration import rejected_patterns
from xception_jax.records import SPENDINGS
from xception_jax.statistics import sequential
from xception_jax.statistics.location import LocationTest
from xception_jax.statistics.sequential import LookDesign, SequentialTest, spent

# Upper boundaries of Z with a one-sided level of 0.025, equally spaced looks, as gsDesign (sfLDOF,
# sfLDPocock) and ldbounds print them.
PUBLISHED = {
    ("obrien_fleming", 2): (2.9626, 1.9686),
    ("obrien_fleming", 3): (3.7103, 2.5114, 1.9930),
    ("obrien_fleming", 4): (4.3326, 2.9631, 2.3590, 2.0141),
    ("obrien_fleming", 5): (4.8769, 3.3569, 2.6803, 2.2898, 2.0310),
    ("pocock", 2): (2.1570, 2.2010),
    ("pocock", 5): (2.4380, 2.4268, 2.4101, 2.3966, 2.3859),
}


@pytest.mark.parametrize(("spending", "looks"), PUBLISHED)
def test_the_level_is_spent_as_published_boundaries_spend_it(spending: str, looks: int) -> None:
    design = LookDesign(tuple(range(10, 10 * looks + 1, 10)), spending)
    shares = [look / looks for look in range(1, looks + 1)]
    crossings = first_crossings(PUBLISHED[spending, looks], shares)
    for look, crossing in enumerate(crossings):
        # Four printed decimals, and a grid of 0.0025 deviations.
        assert design.added(0.025, look) == pytest.approx(crossing, rel=3e-3)
    assert sum(design.added(0.025, look) for look in range(looks)) == pytest.approx(0.025)


@pytest.mark.parametrize("spending", SPENDINGS)
def test_every_look_may_reject_more_at_a_higher_level(spending: str) -> None:
    design = LookDesign((1, 4, 5, 16), spending)
    levels = np.geomspace(1e-9, 1, 400)
    for look in range(4):
        added = [design.added(level, look) for level in levels]
        assert (np.diff(added) >= -1e-15).all()
        for level in levels[::40]:
            found = design.least_level(design.added(level, look), look)
            # The level is found by halving an interval, in float64.
            assert design.added(found, look) == pytest.approx(design.added(level, look), rel=1e-6)
    assert spent(0.3, 1.0, spending) == pytest.approx(0.3)
    assert spent(1.0, 1.0, spending) == pytest.approx(1.0)


# -- all sign patterns, by the definition ------------------------------------------------------


def drawn(rng: np.random.Generator, n: int, kind: str) -> np.ndarray:
    if kind == "ties":  # accuracies on few images: many sums are equal
        return rng.integers(-4, 5, n) / 200
    return rng.standard_t(3, n) if kind == "heavy" else rng.normal(0.3, 1, n)


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("kind", ["gaussian", "ties", "heavy"])
def test_p_is_the_smallest_level_that_rejects_by_all_patterns(
    rng: np.random.Generator, spending: str, kind: str
) -> None:
    sizes = ((4, 6, 8), (5, 8), (6, 7, 8))[rng.integers(3)]
    values = np.abs(drawn(rng, sizes[-1], kind))
    design = LookDesign(sizes, spending)
    patterns = np.array(list(itertools.product((1.0, -1.0), repeat=sizes[-1])))
    p_values = {
        size: {
            signs: SequentialTest(np.array(signs) * values[:size], design=design).p_above()
            for signs in {tuple(row[:size]) for row in patterns.tolist()}
        }
        for size in sizes
    }
    for level in [*rng.uniform(0, 0.3, 20), 0.025, 0.05, 2**-4, 2**-8]:
        by_look = rejected_patterns(values, sizes, spending, level)
        for look, size in enumerate(sizes):
            p = np.array([p_values[size][tuple(row[:size])] for row in patterns.tolist()])
            clear = np.abs(p - level) > 1e-6 * level  # not rounding at the level itself
            np.testing.assert_array_equal((p <= level)[clear], by_look[look][clear])
            assert (p <= level).mean() <= level * (1 + 1e-6)  # and so the level holds exactly
    final = np.array([p_values[sizes[-1]][tuple(row)] for row in patterns.tolist()])
    early = np.array([p_values[sizes[0]][tuple(row[: sizes[0]])] for row in patterns.tolist()])
    assert (final <= early * (1 + 1e-9)).all()  # what is decided stays so


@pytest.mark.parametrize("spending", SPENDINGS)
def test_twelve_differences_are_tested_as_their_patterns_are_counted(
    rng: np.random.Generator, spending: str
) -> None:
    sizes = (6, 9, 12)
    design = LookDesign(sizes, spending)
    checked = 0
    for kind in ("gaussian", "ties", "heavy"):
        # So far from zero that one side has a small p. Levels stay below 0.317: from there on
        # O'Brien and Fleming's function goes on linearly, and that of `rejected_patterns` does not.
        values = drawn(rng, 12, kind) + (0.01 if kind == "ties" else 1.0)
        test = SequentialTest(values, design=design)
        for sign, p in ((1, test.p_above()), (-1, test.p_below())):
            row = sum(2 ** (11 - at) for at in range(12) if sign * values[at] < 0)
            for level, expected in ((p * 1.001, True), (p * 0.999, False)):
                if level < 0.3:
                    rejected = rejected_patterns(values, sizes, spending, level)
                    assert rejected[-1][row] == expected
                    checked += 1
    assert checked


def test_one_look_is_the_fixed_test(rng: np.random.Generator) -> None:
    for n, test in itertools.product((6, 9, 12), ("mean", "median")):
        for spending in SPENDINGS:
            values = rng.normal(0.4, 1, n)
            fixed = LocationTest(values, test)
            looked = SequentialTest(values, test, design=LookDesign((n,), spending))
            # Shares of patterns; levels and ends are found by halving intervals, in float64.
            assert looked.p() == pytest.approx(fixed.p(), rel=1e-9)
            assert looked.p_within(0.5) == pytest.approx(fixed.p_within(0.5), rel=1e-9)
            ends = looked.interval(0.025)
            np.testing.assert_allclose(ends, fixed.interval(0.025), atol=1e-6 * np.ptp(values))


@pytest.mark.parametrize("test", ["mean", "median"])
@pytest.mark.parametrize("spending", SPENDINGS)
def test_the_interval_holds_what_the_test_does_not_reject(
    rng: np.random.Generator, test: str, spending: str
) -> None:
    for sizes in ((6, 9, 12), (8, 16, 32)):
        values = rng.normal(0.5, 1, sizes[-1])
        looked = SequentialTest(values, test, design=LookDesign(sizes, spending))
        low, high = looked.interval(0.025)
        assert (low > 0 or high < 0) == (looked.p() < 0.05)
        width = high - low
        for inside in np.linspace(low + 1e-3 * width, high - 1e-3 * width, 7):
            assert looked.p(inside) >= 0.05
        for outside in (0.003, 0.03, 0.3):
            assert looked.p_above(low - outside * width) < 0.025
            assert looked.p_below(high + outside * width) < 0.025


def test_a_look_that_cannot_reject_has_no_finite_interval() -> None:
    design = LookDesign((8, 16, 32))
    assert design.smallest_p(0) > 0.05  # 2^-8 is more than is spent by then
    values = np.arange(1.0, 9.0)
    assert SequentialTest(values, design=design).interval(0.025) == (-math.inf, math.inf)
    assert SequentialTest(values, design=design).p() == pytest.approx(design.smallest_p(0))
    assert LookDesign((8, 16, 32), "pocock").smallest_p(0) < 0.05


def test_cells_change_p_by_little(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, spending in itertools.product(("gaussian", "heavy"), SPENDINGS):
        values = np.abs(drawn(rng, 18, kind)) * np.where(rng.uniform(size=18) < 0.75, 1, -1)
        test = SequentialTest(values, design=LookDesign((9, 18), spending))
        in_cells = test.p()
        with monkeypatch.context() as patch:
            patch.setattr(sequential, "EXACT_UP_TO", 18)
            exact = test.p()
        # A cell is 6e-5 of the sum of all, and 16 of the 18 are rounded to one.
        assert in_cells == pytest.approx(exact, rel=0.02)


def test_wrong_input_is_refused() -> None:
    design = LookDesign((4, 8))
    with pytest.raises(ValueError, match="must be 4 or 8, and are 5"):
        SequentialTest(np.ones(5), design=design)
    with pytest.raises(ValueError, match="finite"):
        SequentialTest(np.array([1.0, 2.0, np.nan, 1.0]), design=design)
    with pytest.raises(ValueError, match="haybittle"):
        spent(0.05, 0.5, "haybittle")
