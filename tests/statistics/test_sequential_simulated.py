"""Simulated sweeps with declared looks: errors over claims and looks, power, seeds, coverage."""

from collections.abc import Callable

import numpy as np
import pytest

from xception_jax.records import SPENDINGS
from xception_jax.statistics.sequential import LookDesign, SequentialTest

LOOKS = (8, 16, 32)
LEVEL = 0.05
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def unequal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Seeds whose spreads differ by a factor of ten."""
    return rng.normal(size=shape) * np.exp(rng.uniform(0, np.log(10), shape))


NOISE: dict[str, Draw] = {
    "gaussian": lambda rng, shape: rng.normal(size=shape),
    "heavy-tailed": lambda rng, shape: rng.standard_t(2, shape),
    "unequal variances": unequal,
}


def rejected(values: np.ndarray, spending: str, level: float, looks: tuple[int, ...]) -> int | None:
    """The first look at which a claim's differences are rejected at a level; None: at none."""
    design = LookDesign(looks, spending)
    for number, size in enumerate(looks):
        if SequentialTest(values[:size], design=design).rejects(level):
            return number
    return None


def holm_rejects_one(claims: np.ndarray, spending: str) -> bool:
    """Whether Holm's method rejects any claim at any look: it does if one is at the first level."""
    return any(rejected(row, spending, LEVEL / len(claims), LOOKS) is not None for row in claims)


@pytest.mark.slow
@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("noise", NOISE)
def test_errors_over_claims_and_looks_stay_below_five_percent(
    rng: np.random.Generator, noise: str, spending: str
) -> None:
    sweeps, wrong = 1_000, 0
    for _ in range(sweeps):
        arms = NOISE[noise](rng, (4, LOOKS[-1]))
        wrong += holm_rejects_one(arms[1:] - arms[0], spending)  # three claims share a baseline
    error = np.sqrt(LEVEL * (1 - LEVEL) / sweeps)  # 0.7%
    print(f"{noise}, {spending}: {wrong / sweeps:.3f} +- {error:.3f}")
    assert wrong / sweeps <= LEVEL + 3 * error


@pytest.mark.slow
@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("noise", NOISE)
def test_looks_save_seeds_and_cost_little_power(
    rng: np.random.Generator, noise: str, spending: str
) -> None:
    sweeps, fixed, found, seeds = 1_000, 0, 0, 0
    shift = {"gaussian": 0.55, "heavy-tailed": 1.0, "unequal variances": 2.2}[noise]
    for _ in range(sweeps):
        values = shift + NOISE[noise](rng, (LOOKS[-1],))
        fixed += rejected(values, spending, LEVEL, LOOKS[-1:]) is not None
        look = rejected(values, spending, LEVEL, LOOKS)
        found += look is not None
        seeds += LOOKS[-1] if look is None else LOOKS[look]
    print(
        f"{noise}, {spending}: power {found / sweeps:.3f} of {fixed / sweeps:.3f}, "
        f"{seeds / sweeps:.1f} of {LOOKS[-1]} seeds"
    )
    lost = {"obrien_fleming": 0.03, "pocock": 0.12}[spending]  # of Gaussian designs: 0.01 and 0.07
    assert found <= fixed + 0.02 * sweeps
    assert found >= fixed - (lost + 0.03) * sweeps
    most = {"obrien_fleming": 0.97, "pocock": 0.87}[spending]  # measured: 0.93 and 0.79, or less
    assert seeds / sweeps < most * LOOKS[-1]


@pytest.mark.slow
@pytest.mark.parametrize("spending", SPENDINGS)
def test_intervals_cover_at_whichever_look_a_sweep_ends(
    rng: np.random.Generator, spending: str
) -> None:
    sweeps, covered, effect = 1_000, 0, 0.5
    for _ in range(sweeps):
        values = effect + rng.normal(size=LOOKS[-1])
        look = rejected(values, spending, LEVEL, LOOKS)
        size = LOOKS[-1 if look is None else look]
        test = SequentialTest(values[:size], design=LookDesign(LOOKS, spending))
        covered += not test.rejects(LEVEL, effect)
    error = np.sqrt(LEVEL * (1 - LEVEL) / sweeps)
    print(f"{spending}: {covered / sweeps:.3f} +- {error:.3f}")
    assert covered / sweeps >= 1 - LEVEL - 3 * error


def test_a_few_sweeps_without_an_effect_are_seldom_decided(rng: np.random.Generator) -> None:
    sweeps = 60
    wrong = sum(
        rejected(rng.normal(size=LOOKS[-1]), "pocock", LEVEL, LOOKS) is not None
        for _ in range(sweeps)
    )
    assert wrong <= 11  # a binomial of 60 and 5% is larger once in 10,000 times
