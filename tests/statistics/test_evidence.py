"""The side of a verdict, its p-value and its interval come from the same tests."""

import itertools
from typing import Any

import numpy as np
import pytest

from tests.known_effects import build, reported
from tests.programs import Call
from tests.statistics.effects_on_bases import without_an_effect
from tests.statistics.enumeration import pocock_p
from tests.statistics.planted_differences import set_differences
from tests.synthetic_bases import build_on_bases
from tests.synthetic_sweep import NewSweep, edit_run
from xception_jax.statistics.evidence import Evidence, combine, weigh
from xception_jax.statistics.location import LocationTest
from xception_jax.statistics.sequential import LookDesign, SequentialTest
from xception_jax.sweep import Claim

# At the first of two looks all differences have one sign, and the mean of all has the other one.
RISE = [0.01, 0.011, 0.012, 0.013, 0.009, 0.008, 0.014, 0.010]
FALL = [-0.03, -0.02, 0.01, -0.025, -0.03, 0.012, -0.02, -0.01]
LOOKS: dict[str, Any] = {"seeds": 16, "looks": (8, 16), "spending": "pocock"}
P_FIRST = pocock_p(8, 16)
OTHERS = {"c": 0.0, "d": 0.0, "e": 0.0}
LATE = [0.03, -0.02, 0.03, 0.01, -0.01, 0.03, 0.02, 0.02] + [0.05] * 8  # decided at look 2 alone


# -- the rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", ["mean", "median"])
def test_of_one_look_p_is_two_sided_and_the_side_that_of_the_estimate(
    test: str, rng: np.random.Generator
) -> None:
    """Bit for bit, also where differences equal the null or each other, and above 20 of them."""
    for n, null in itertools.product((4, 5, 8, 9, 21), (0.0, 0.01)):
        for _ in range(20):
            values = rng.choice([rng.normal(0, 0.02, n), rng.integers(-2, 3, n) / 100])
            sample = LocationTest(values, test, draws=500)
            estimate = sample.estimate - null >= 0
            tails = (min(1.0, 2 * tail) for tail in (sample.p_above(null), sample.p_below(null)))
            found = weigh(*tails, estimate_agrees=estimate)
            assert (found.p, found.for_claim) == (sample.p(null), estimate)
            assert found.p_on(for_claim=not estimate) == 1.0
            is_inside = abs(sample.estimate) < 0.01
            within, beyond = sample.p_within(0.01), sample.p_beyond(0.01)
            found = weigh(within, beyond, estimate_agrees=is_inside, one_sided=True)
            assert (found.p, found.for_claim) == (within if is_inside else beyond, is_inside)
            assert not found.is_contradicted


def test_parts_have_the_evidence_of_the_side_that_enough_of_them_are_on(
    rng: np.random.Generator,
) -> None:
    cases = [(parts, at_least) for parts in (1, 2, 3, 5) for at_least in range(1, parts + 1)]
    for parts, at_least in cases * 50:
        p_values, sides = rng.uniform(0, 0.01, parts), rng.uniform(size=parts) < 0.5
        found = combine(
            [Evidence(p, bool(side)) for p, side in zip(p_values, sides, strict=True)], at_least
        )
        # The claim holds on enough of them, or its opposite leaves too few and is as frequent.
        if sides.sum() >= at_least:
            expected = (parts - at_least + 1) * np.sort(p_values[sides])[at_least - 1]
            assert found.for_claim
            assert found.p == pytest.approx(expected)
        elif (~sides).sum() >= at_least:
            needed = max(at_least, parts - at_least + 1)
            expected = (parts - needed + 1) * np.sort(p_values[~sides])[needed - 1]
            assert not found.for_claim
            assert found.p == pytest.approx(expected)
        else:
            assert found.p == 1.0


# -- looks that contradict each other ------------------------------------------------------------


def test_a_verdict_over_looks_is_on_the_side_that_the_test_rejects_for(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    others = [Claim(arm, "b") for arm in OTHERS]
    sweep = build(new_sweep, [Claim("a", "b"), *others], {"a": 0, "b": 0, **OTHERS}, rng, **LOOKS)
    set_differences(sweep, "a", "b", RISE + FALL)
    for arm in OTHERS:
        set_differences(sweep, arm, "b", LATE)
    claim = reported(call, sweep)[0]
    (endpoint,) = claim["endpoints"]
    assert claim["look"]["number"] == 2  # 4 claims: p is not below 0.05 / 4 at the first
    assert endpoint["effect"] < 0
    assert endpoint["p"] == pytest.approx(P_FIRST, rel=1e-6)
    assert claim["verdict"] == "supported"
    assert "a was better than b: final top-1 −0.0016" in claim["sentence"]
    assert "p of final top-1 comes from an earlier look" in claim["sentence"]
    assert "over all seeds so far points the other way" in claim["sentence"]


def test_an_undecided_claim_says_that_its_looks_point_different_ways(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [Claim("a", "b"), *(Claim(arm, "b") for arm in OTHERS)]
    sweep = build(new_sweep, claims, {"a": 0, "b": 0, **OTHERS}, rng, **LOOKS)
    for arm in OTHERS:
        set_differences(sweep, arm, "b", [0.01, -0.01] * 8)
    set_differences(sweep, "a", "b", RISE + FALL)
    claim = reported(call, sweep)[0]
    assert claim["verdict"] == "inconclusive"
    assert claim["endpoints"][0]["needed_n"] is None
    assert claim["sentence"].endswith("the looks point different ways.")


def test_an_equivalence_over_looks_is_not_said_where_only_its_opposite_is_shown(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [Claim("a", "b", "equivalent", margin=0.005), *(Claim(arm, "b") for arm in OTHERS)]
    sweep = build(new_sweep, claims, {"a": 0, "b": 0, **OTHERS}, rng, **LOOKS)
    set_differences(sweep, "a", "b", RISE + FALL)
    for arm in OTHERS:
        set_differences(sweep, arm, "b", LATE)
    claim = reported(call, sweep)[0]
    (endpoint,) = claim["endpoints"]
    assert abs(endpoint["effect"]) < 0.005
    assert endpoint["p"] == pytest.approx(P_FIRST, rel=1e-6)
    assert (claim["verdict"], endpoint["confidence"]) == ("opposite", 0.95)
    assert endpoint["interval"][0] > 0.005


def test_over_bases_a_look_decides_for_its_own_side(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    arms = {"a": 0.0, "b": 0.0, **OTHERS}
    claims = [Claim("a", "b"), *(Claim(arm, "b") for arm in OTHERS)]
    sweep = build_on_bases(new_sweep, claims, {"x": arms, "y": arms}, rng, **LOOKS)
    for base in "xy":
        set_differences(sweep, f"{base}-a", f"{base}-b", RISE + FALL)
        for arm in OTHERS:
            set_differences(sweep, f"{base}-{arm}", f"{base}-b", LATE)
    claim = reported(call, sweep)[0]
    assert claim["verdict"] == "supported"
    assert [on_base["verdict"] for on_base in claim["bases"]] == ["supported"] * 2
    assert claim["endpoints"][0]["p"] == pytest.approx(P_FIRST, rel=1e-6)
    assert "p of final top-1 comes from an earlier look" in claim["sentence"]


def test_an_interval_that_holds_no_value_is_said_to_be_empty(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    values = [0.01, -0.01] * 4 + [0.2] * 8
    low, high = SequentialTest(np.array(values), design=LookDesign((8, 16), "pocock")).interval(
        0.025
    )
    assert low > high
    sweep = build(new_sweep, [Claim("a", "b")], {"a": 0, "b": 0}, rng, **LOOKS)
    set_differences(sweep, "a", "b", values)
    (claim,) = reported(call, sweep)
    (endpoint,) = claim["endpoints"]
    assert claim["verdict"] == "supported"
    assert (endpoint["interval"], endpoint["interval_is_empty"]) == (None, True)
    assert (
        "no 95% interval, since the looks contradict each other: no value is held by all"
        in (claim["sentence"])
    )
    assert "& empty &" in (sweep.directory / "report" / "verdicts.tex").read_text()


# -- at least k of K bases -----------------------------------------------------------------------

BASES = {base: {"a": 0.0, "b": 0.0} for base in "xyz"}
MANY_BETTER = [0.05] * 4 + [0.04] * 3 + [-0.001]
ALL_WORSE = [-0.05, -0.04, -0.05, -0.03, -0.05, -0.04, -0.05, -0.05]


def test_worse_on_one_base_does_not_refute_better_on_one(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    sweep = build_on_bases(new_sweep, [Claim("a", "b")], BASES, rng, at_least=1)
    set_differences(sweep, "y-a", "y-b", ALL_WORSE)
    for base in "xz":
        without_an_effect(sweep, base)
    (claim,) = reported(call, sweep)
    assert (claim["verdict"], claim["endpoints"][0]["p"]) == ("inconclusive", 1.0)


def test_worse_on_all_bases_refutes_better_on_one(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    sweep = build_on_bases(new_sweep, [Claim("a", "b")], BASES, rng, at_least=1)
    for base in BASES:
        set_differences(sweep, f"{base}-a", f"{base}-b", ALL_WORSE)
    (claim,) = reported(call, sweep)
    assert claim["verdict"] == "opposite"
    assert "a was worse than b on each of these 3 bases, the opposite" in claim["sentence"]
    assert "(p = 0.00781, the largest p of the 3 bases" in claim["sentence"]
    assert claim["endpoints"][0]["p"] == pytest.approx(2 / 2**8)


def test_p_over_bases_is_that_of_the_side_of_the_verdict(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    sweep = build_on_bases(new_sweep, [Claim("a", "b")], BASES, rng, at_least=1)
    set_differences(sweep, "x-a", "x-b", MANY_BETTER)
    set_differences(sweep, "y-a", "y-b", ALL_WORSE)
    without_an_effect(sweep, "z")
    (claim,) = reported(call, sweep)
    assert claim["verdict"] == "supported"
    # Of the 256 sums only that of all signs positive is larger, and each base counts three times.
    assert claim["endpoints"][0]["p"] == pytest.approx(3 * 2 * 2 / 2**8)
    assert "(p = 0.0469, 3 times the p-value that is number 1 of 3" in claim["sentence"]
    assert "adjusted p = 0.0469" in claim["sentence"]


# -- what the sentence over all bases says -------------------------------------------------------


def test_the_sentence_over_bases_says_the_test_and_what_is_said_of_each_base(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    arms = {"a": 0.05, "b": 0.0}
    claims = [Claim("a", "b", test="median"), Claim("a", "b", "not_worse", margin=0.01)]
    skip = (("x-a", 9),)
    sweep = build_on_bases(new_sweep, claims, {"x": arms, "y": arms}, rng, seeds=10, skip=skip)
    edit_run(sweep.run_directory("y-b", 0), diverge)
    median, mean = [claim["sentence"] for claim in reported(call, sweep)]
    marks = (
        "x: 1 of 10 planned seeds missing, so the sweep was judged before it was complete; "
        "y: 1 run that diverged counts as 0.1, chance"
    )
    assert f"; median paired difference; exact sign test; {marks})" in median
    assert (
        "; mean paired difference; exact sign-flip test of a difference of −0.0100, one-sided at "
        f"2.5% (p is doubled); {marks}"
    ) in mean
    assert "y: the differences in final top-1 look skewed" in mean


def diverge(record: dict[str, Any]) -> None:
    record.update(status="diverged", result=None)


def test_the_opposite_of_an_equivalence_names_its_own_test(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [Claim(arm, "b", "equivalent", margin=0.01) for arm in "ac"]
    effects = {"a": 0.05, "b": 0.0, "c": 0.0}
    beyond, within = reported(call, build(new_sweep, claims, effects, rng, spread=0.001))
    assert (beyond["verdict"], within["verdict"]) == ("opposite", "equivalent")
    assert (
        "; two-sided exact sign-flip test of a difference beyond the margin,"
        in (beyond["sentence"])
    )
    assert "; two one-sided exact sign-flip tests, " in within["sentence"]
