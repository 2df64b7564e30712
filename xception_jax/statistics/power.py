"""Power of a number of seeds, minimum detectable effects, and the number of seeds they take.

The power is that of the tests in `location.py`, for a claim as it is declared: all of its endpoints
at once, on the claim's side, at the level that the number of claims leaves. It is simulated with
Gaussian differences. A test rejects zero when the lower end of its interval is above zero, and the
interval moves with the differences; so the ends of the intervals of samples without an effect give
the power at every effect.

Up to `EXACT_ENDS_UP_TO` differences these ends are exact. Above, those of the sign-flip test come
from the Cornish-Fisher expansion of its distribution to the sixth cumulant, which moves the power
by less than 0.005 (`tests/statistics/test_power.py` measures it).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from xception_jax.statistics.location import least_count, sign_patterns
from xception_jax.statistics.paired import correlation

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 1_000
EXACT_ENDS_UP_TO = 12
DRAWS = 10_000
"""Simulated sweeps, or as many as fit into `_NUMBERS`, but at least `FEWEST_DRAWS`."""
FEWEST_DRAWS = 2_500
_NUMBERS = 1e7
_ROUNDING = 1e-9  # of differences that are all alike, in shares of the largest

Effects = Sequence[float]


@dataclass(frozen=True)
class Design:
    """The test of a claim, apart from its effects and its number of seeds.

    Attributes:
        alpha: level of each endpoint's test, adjusted by the caller for the number of claims.
        correlation: correlation of the endpoints' differences with each other, each counted
            positive in the direction of its effect; a row and a column for each endpoint.
        equivalence: whether two one-sided tests look for equivalence within a margin.
        test: "mean" or "median".
    """

    alpha: float = ALPHA
    correlation: tuple[tuple[float, ...], ...] = ((1.0,),)
    equivalence: bool = False
    test: str = "mean"

    @property
    def tail(self) -> float:
        """Level of each one-sided test."""
        return self.alpha if self.equivalence else self.alpha / 2


def correlation_matrix(
    differences: Sequence[Float[np.ndarray, " seeds"]], signs: Sequence[float]
) -> tuple[tuple[float, ...], ...]:
    """The correlation of endpoints as a `Design` has it; 0 where the seeds do not tell.

    Args:
        differences: the differences of each endpoint, over the same seeds.
        signs: sign of each endpoint's effect, 1 or -1.
    """
    signed = [row * sign for row, sign in zip(differences, signs, strict=True)]
    return tuple(
        tuple(
            1.0 if at == other_at else correlation(one, other) or 0.0
            for other_at, other in enumerate(signed)
        )
        for at, one in enumerate(signed)
    )


def known_deviation(differences: Float[np.ndarray, " seeds"]) -> float | None:
    """The standard deviation of differences; None where they tell none.

    A single difference does not, nor do differences that are all alike, such as those of runs that
    all miss a target: a spread of zero is one that so few seeds do not show.
    """
    deviation = float(differences.std(ddof=1)) if differences.size > 1 else 0.0
    return deviation if deviation > _ROUNDING * np.abs(differences).max(initial=0.0) else None


def equal_correlation(endpoints: int, value: float) -> tuple[tuple[float, ...], ...]:
    """The correlation matrix of endpoints that are all correlated by `value`."""
    matrix = np.full((endpoints, endpoints), value) + (1 - value) * np.eye(endpoints)
    return tuple(map(tuple, matrix.tolist()))


def draws_of(n: int, draws: int = DRAWS) -> int:
    """The number of simulated sweeps of n seeds."""
    per_sweep = 2.0**n if n <= EXACT_ENDS_UP_TO else 2.5 * n
    return int(min(draws, max(FEWEST_DRAWS, _NUMBERS / per_sweep)))


def power_error(n: int) -> float:
    """The Monte Carlo standard error of a power of 80%."""
    return math.sqrt(POWER * (1 - POWER) / draws_of(n))


def claim_power(
    effects: Effects, n: int, design: Design, margins: Effects = (), *, draws: int = DRAWS
) -> float:
    """The probability that every endpoint of a claim is found, in the direction of its effect.

    Args:
        effects: effect on each endpoint, in standard deviations of its differences.
        n: number of differences.
        design: the test of the claim.
        margins: margin of each endpoint, in its standard deviations; of an equivalence alone.
        draws: simulated sweeps at most.
    """
    low, high = _ends(n, design, draws_of(n, draws))
    effect = np.asarray(effects, np.float64)[:, None]
    if design.equivalence:
        margin = np.asarray(margins, np.float64)[:, None]
        return float(np.mean(((low + effect > -margin) & (high + effect < margin)).all(axis=0)))
    return float(np.mean((low + effect > 0).all(axis=0)))


def minimum_detectable_effect(n: int, design: Design) -> float | None:
    """The effect, alike in all endpoints, with which n differences decide the claim in 80 of 100.

    Returns:
        In standard deviations of each endpoint's differences; for an equivalence the least margin
        within which arms that do not differ are shown to be equivalent. None: n differences cannot
        reach the level, whatever the effect.
    """
    if not least_count(n, design.tail, design.test):
        return None
    simulated = min(n, MOST_SEEDS)
    low, high = _ends(simulated, design, draws_of(simulated))
    needed = np.maximum(-low, high) if design.equivalence else -low
    effect = float(np.quantile(needed.max(axis=0), POWER, method="inverted_cdf"))
    return effect * math.sqrt(simulated / n)


def needed_n(effects: Effects, design: Design, margins: Effects = ()) -> int | None:
    """The number of differences that decide a claim with a probability of 80%.

    Args:
        effects: effect on each endpoint, in standard deviations, as in `claim_power`.
        design: the test of the claim.
        margins: as in `claim_power`; the effects of an equivalence lie within them.

    Returns:
        None: more than `MOST_SEEDS`.
    """
    distances = (
        [margin - abs(effect) for effect, margin in zip(effects, margins, strict=True)]
        if design.equivalence
        else effects
    )
    least = min(distances)
    # A single z test of one endpoint, whose true deviation is known, needs fewer than the claim.
    fewest = ((-ndtri(design.tail) + ndtri(POWER)) / max(least, 1e-9)) ** 2
    if least <= 0 or fewest > 1.1 * MOST_SEEDS:
        return None

    def decides(n: int) -> bool:
        return claim_power(effects, n, design, margins, draws=FEWEST_DRAWS) >= POWER

    attainable = (n for n in range(2, MOST_SEEDS) if least_count(n, design.tail, design.test))
    low = max(next(attainable, MOST_SEEDS), int(0.9 * fewest))
    high, step = low, max(1, low // 8)
    while not decides(high):
        if high >= MOST_SEEDS:
            return None
        low, high, step = high + 1, min(high + step, MOST_SEEDS), 2 * step
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle + 1, high)
    return high


# -- ends of intervals -------------------------------------------------------------------------

Samples = Float[np.ndarray, "draws seeds"]
Ends = Float[np.ndarray, "endpoints draws"]


@lru_cache(maxsize=64)
def _ends(n: int, design: Design, draws: int) -> tuple[Ends, Ends]:
    """The ends of every endpoint's interval, of samples with mean zero and deviation one.

    The upper ends are only computed for an equivalence.
    """
    samples = simulated_differences(n, design, draws)
    low = np.array([lower_ends(sample, design.tail, design.test) for sample in samples])
    if not design.equivalence:
        return low, low
    return low, -np.array([lower_ends(-sample, design.tail, design.test) for sample in samples])


def simulated_differences(
    n: int, design: Design, draws: int
) -> Float[np.ndarray, "endpoints draws seeds"]:
    """Differences of so many simulated sweeps, with mean zero and deviation one."""
    generator = np.random.default_rng([n, draws])
    values, vectors = np.linalg.eigh(np.asarray(design.correlation))
    mixing = vectors * np.sqrt(np.maximum(values, 0.0))
    independent = generator.standard_normal((len(mixing), draws * n))
    return (mixing @ independent).reshape(-1, draws, n)


def lower_ends(samples: Samples, tail: float, test: str = "mean") -> Float[np.ndarray, " draws"]:
    """The lower end of the interval of every sample, for a one-sided level `tail`."""
    n = samples.shape[1]
    count = least_count(n, tail, test)
    if not count:
        return np.full(len(samples), -math.inf)
    if test == "median":
        return np.partition(samples, count - 1, axis=1)[:, count - 1]
    if n <= EXACT_ENDS_UP_TO:
        return _smallest_subset_means(samples, count)
    if count <= EXACT_ENDS_UP_TO:
        # The k smallest subset means are among those of the k smallest differences.
        smallest = np.partition(samples, EXACT_ENDS_UP_TO - 1, axis=1)[:, :EXACT_ENDS_UP_TO]
        return _smallest_subset_means(smallest, count)
    return _expanded_ends(samples, (count + 0.5) / sign_patterns(n))


def _smallest_subset_means(samples: Samples, count: int) -> Float[np.ndarray, " draws"]:
    """The `count`-th smallest of the means of all subsets, for every sample."""
    n = samples.shape[1]
    members = (np.arange(1, 2**n) >> np.arange(n)[:, None]) & 1
    weights = members / members.sum(axis=0)
    blocks = np.array_split(samples, -(-samples.shape[0] * 2**n // int(_NUMBERS)))
    return np.concatenate(
        [np.partition(block @ weights, count - 1, axis=1)[:, count - 1] for block in blocks]
    )


def _expanded_ends(samples: Samples, tail: float) -> Float[np.ndarray, " draws"]:
    """The ends at which the sign-flip p-value is `tail`, by Cornish and Fisher's expansion.

    With random signs, the sum of the differences x from the end has the variance sum(x^2) and the
    cumulants -2 sum(x^4) and 16 sum(x^6). The sums follow from those about the mean, and the end
    is where the sum over its standard deviation equals its quantile.
    """
    n = samples.shape[1]
    mean = samples.mean(axis=1)
    deviations = samples - mean[:, None]
    power, sums = deviations, []
    for _ in range(5):
        power = power * deviations
        sums.append(power.sum(axis=1))
    s2, s3, s4, s5, s6 = sums
    normal = -ndtri(tail)
    quantile = np.full(len(samples), normal)
    for _ in range(5):  # each pass reduces what is missing by a factor of about ten
        shift = quantile * np.sqrt(s2 / (n * (n - quantile**2)))
        variance = s2 + n * shift**2
        fourth = s4 + shift * (4 * s3 + shift * (6 * s2 + n * shift**2))
        sixth = s6 + shift * (6 * s5 + shift * (15 * s4 + shift * (20 * s3 + shift * 15 * s2)))
        k4 = -2 * fourth / variance**2
        k6 = 16 * (sixth + n * shift**6) / variance**3
        quantile = normal + k4 / 24 * (normal**3 - 3 * normal)
        quantile += k6 / 720 * (normal**5 - 10 * normal**3 + 15 * normal)
        quantile -= k4**2 / 384 * (3 * normal**5 - 24 * normal**3 + 29 * normal)
    return mean - quantile * np.sqrt(s2 / (n * (n - quantile**2)))
