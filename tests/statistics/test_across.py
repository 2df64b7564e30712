"""Claims over several bases: the rule over all of them, and verdicts on sweeps of known truth."""

import itertools

import numpy as np
import pytest

from tests.known_effects import reported
from tests.programs import Call
from tests.statistics.effects_on_bases import (
    BETTER,
    EFFECT,
    REVERSE,
    verdicts_of,
    without_an_effect,
)
from tests.synthetic_bases import build_on_bases
from tests.synthetic_sweep import NewSweep
from xception_jax.statistics.paired import partial_conjunction
from xception_jax.sweep import Claim, Trend
from xception_jax.sweep.contrast_claims import AnyClaim

# -- the rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bases", "at_least"), [(k, u) for k in (2, 3, 5) for u in range(1, k + 1)]
)
def test_the_partial_conjunction_is_the_worst_of_all_intersections(
    bases: int, at_least: int, rng: np.random.Generator
) -> None:
    """Its definition: no K - k + 1 of the null hypotheses may be true together (Bonferroni)."""
    for _ in range(50):
        p_values = rng.uniform(size=bases) ** 3
        together = itertools.combinations(p_values, bases - at_least + 1)
        expected = max(min(1.0, len(some) * min(some)) for some in together)
        assert partial_conjunction(list(p_values), at_least) == pytest.approx(expected, rel=1e-12)


def test_of_all_bases_it_is_the_largest_and_of_one_that_of_bonferroni(
    rng: np.random.Generator,
) -> None:
    p_values = list(rng.uniform(size=4))
    assert partial_conjunction(p_values, 4) == max(p_values)
    assert partial_conjunction(p_values, 1) == min(1.0, 4 * min(p_values))


# -- sweeps of known truth -----------------------------------------------------------------------


def test_an_effect_on_every_base_is_supported_on_each_and_over_all(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    effects = {"mini": EFFECT, "wide": EFFECT}
    (claim,) = reported(call, build_on_bases(new_sweep, [BETTER], effects, rng))
    assert (claim["verdict"], claim["grade"]) == ("supported", "A")
    assert claim["title"] == "a better than b on each of mini and wide: final_top1"
    assert verdicts_of(claim) == {"mini": "supported", "wide": "supported"}
    assert "a was better than b on each of these 2 bases" in claim["sentence"]
    assert "data_mini" in claim["sentence"]
    assert "data_wide" in claim["sentence"]
    assert "single bases: supported on 2 of 2 (mini and wide)" in claim["sentence"]
    assert "a was better than b on mini" in claim["bases"][0]["sentence"]
    assert claim["endpoints"][0]["p"] == max(each["endpoints"][0]["p"] for each in claim["bases"])
    differences = [
        [row["difference"] for row in each["endpoints"][0]["per_seed"]] for each in claim["bases"]
    ]
    mean = np.mean(differences)
    # Means of means in float64, 1e-16 each.
    assert claim["endpoints"][0]["effect"] == pytest.approx(mean, abs=1e-12)
    low, high = claim["endpoints"][0]["interval"]
    assert low < mean < high


def test_an_effect_on_one_base_alone_is_no_effect_on_all(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    effects = {"mini": EFFECT, "wide": {"a": 0.0, "b": 0.0}}
    sweep = build_on_bases(new_sweep, [BETTER], effects, rng)
    without_an_effect(sweep, "wide")
    (claim,) = reported(call, sweep)
    assert claim["verdict"] == "inconclusive"
    assert verdicts_of(claim) == {"mini": "supported", "wide": "inconclusive"}
    assert "it is open whether a is better than b on each of these 2 bases" in claim["sentence"]
    assert "supported on 1 of 2 (mini), inconclusive on 1 of 2 (wide)" in claim["sentence"]


def test_effects_in_opposite_directions_are_none_over_all(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    effects = {"mini": EFFECT, "wide": REVERSE}
    (claim,) = reported(call, build_on_bases(new_sweep, [BETTER], effects, rng))
    assert claim["verdict"] == "inconclusive"
    assert verdicts_of(claim) == {"mini": "supported", "wide": "opposite"}
    assert "the bases point different ways" in claim["sentence"]
    assert claim["endpoints"][0]["p"] == 1.0


@pytest.mark.parametrize(
    "case",
    [
        (2, {"a": 0.0, "b": 0.0}, "supported"),
        (2, REVERSE, "supported"),
        (None, {"a": 0.0, "b": 0.0}, "inconclusive"),
        (1, REVERSE, "supported"),
    ],
)
def test_a_claim_of_at_least_k_bases_needs_the_effect_on_k_of_them(
    call: Call,
    new_sweep: NewSweep,
    rng: np.random.Generator,
    case: tuple[int | None, dict[str, float], str],
) -> None:
    at_least, third, verdict = case
    effects = {"x": EFFECT, "y": EFFECT, "z": third}
    sweep = build_on_bases(new_sweep, [BETTER], effects, rng, at_least=at_least)
    if third != REVERSE:
        without_an_effect(sweep, "z")
    (claim,) = reported(call, sweep)
    assert claim["verdict"] == verdict
    if at_least:
        assert f"on at least {at_least} of these 3 bases" in claim["sentence"]
        p_values = sorted(each["endpoints"][0]["p"] for each in claim["bases"][:2])
        expected = (3 - at_least + 1) * p_values[at_least - 1]
        assert claim["endpoints"][0]["p"] == pytest.approx(expected)


def test_the_opposite_on_enough_bases_is_the_opposite(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    effects = {"x": REVERSE, "y": REVERSE, "z": EFFECT}
    (claim,) = reported(call, build_on_bases(new_sweep, [BETTER], effects, rng, at_least=2))
    assert claim["verdict"] == "opposite"
    assert "a was worse than b on at least 2 of these 3 bases" in claim["sentence"]


def test_equivalence_and_a_trend_are_judged_over_bases(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims: list[AnyClaim] = [
        Claim("a", "b", "equivalent", margin=0.02),
        Trend(("a", "b", "c"), ("final_top1", "curve_area")),
    ]
    arms = {"a": 0.0, "b": 0.0, "c": 0.05}
    same, trend = reported(call, build_on_bases(new_sweep, claims, {"x": arms, "y": arms}, rng))
    assert same["verdict"] == "equivalent"
    assert "a and b were equivalent within 0.02 on each of these 2 bases" in same["sentence"]
    assert trend["verdict"] == "supported"
    assert [row["endpoint"] for row in trend["endpoints"]] == ["final_top1", "curve_area"]


def test_a_slope_over_bases_says_its_unit_once(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    arms = {"a": 0.0, "b": 0.02, "c": 0.05}
    claims = [Trend(tuple(arms), scores=(16, 256, 1024)), Trend(tuple(arms))]
    sweep = build_on_bases(new_sweep, claims, {"x": arms, "y": arms}, rng)
    scored, plain = reported(call, sweep)
    on_x, on_y = (
        f"{each['endpoints'][0]['effect']:+.3g}".replace("-", "−") for each in scored["bases"]
    )
    per = "per unit of (16, 256, 1024)"
    assert f"slope of final top-1 {on_x} {per} on x (95% interval" in scored["sentence"]
    assert f", {on_y} on y (95% interval" in scored["sentence"]
    assert "per unit" not in plain["sentence"]
