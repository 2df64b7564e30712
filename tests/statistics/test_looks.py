"""Declared looks, end to end: when a claim is judged, which arms go on, and what is said."""

import itertools
import json
import re
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.known_effects import add_to_top1, build, reported
from tests.programs import Call
from tests.statistics.enumeration import pocock_p, rejected_patterns
from tests.statistics.planted_differences import set_differences
from tests.synthetic_sweep import NewSweep, edit_run
from tests.untrained_study import Study
from xception_jax.errors import InputError
from xception_jax.statistics.decidable import describe_decidable
from xception_jax.statistics.looks import Looks
from xception_jax.sweep import Claim, Experiment

LOOKS: dict[str, Any] = {"looks": (8, 12), "spending": "pocock"}


def test_a_claim_falls_at_the_first_look_that_decides_it(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [Claim("a", "b"), Claim("c", "b")]
    effects = {"a": 0.05, "b": 0.0, "c": 0.0}
    # a and b have ended all twelve seeds, c only nine: it is between its looks.
    skip = tuple(("c", seed) for seed in range(9, 12))
    sweep = build(new_sweep, claims, effects, rng, seeds=12, skip=skip, **LOOKS)
    set_differences(sweep, "c", "b", [0.01, -0.01] * 4 + [0.01])
    decided, waiting = reported(call, sweep)
    assert (decided["verdict"], decided["grade"]) == ("supported", "A")
    assert decided["look"]["number"] == 1
    assert decided["n"] == {"planned": 12, "completed": 8, "diverged": 0, "pairs": 8}
    assert len(decided["endpoints"][0]["per_seed"]) == 8
    assert "look 1 of 2, at 8 of 12 seeds" in decided["sentence"]
    assert "Pocock's spending function" in decided["sentence"]
    p = decided["endpoints"][0]["p"]
    # The level of a look is found by halving an interval.
    assert p == pytest.approx(pocock_p(8, 12), rel=1e-6)
    assert decided["endpoints"][0]["p_adjusted"] == pytest.approx(2 * p)
    assert decided["endpoints"][0]["interval"][0] > 0
    assert (waiting["verdict"], waiting["grade"], waiting["grade_reasons"]) == ("open", "A", [])
    assert waiting["look"]["next_seeds"] == 12
    assert len(waiting["endpoints"][0]["per_seed"]) == 8
    assert "the next look is at 12 seeds" in waiting["sentence"]
    assert "it is open whether c is better than b:" in waiting["sentence"]
    assert "would decide it" not in waiting["sentence"]


def test_before_its_first_look_a_claim_is_open(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    skip = tuple((arm, seed) for arm in "ab" for seed in range(7, 12))
    sweep = build(
        new_sweep, [Claim("a", "b")], {"a": 0.05, "b": 0.0}, rng, seeds=12, skip=skip, **LOOKS
    )
    (claim,) = reported(call, sweep)
    assert (claim["verdict"], claim["endpoints"], claim["grade"]) == ("open", [], "A")
    assert "the first look is at 8 seeds" in claim["sentence"]
    assert claim["n"]["completed"] == 7


def test_an_effect_of_late_seeds_is_found_at_the_last_look_and_counted_by_all_patterns(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    sweep = build(
        new_sweep, [Claim("a", "b")], {"a": 0.0, "b": 0.0}, rng, seeds=12, spread=0.0, **LOOKS
    )
    values = rng.permutation([0.004, 0.003, 0.002, -0.003, 0.005, -0.001, 0.002, 0.006])
    values = np.append(values, rng.permutation([0.02, 0.03, 0.022, 0.026]))
    for seed, value in enumerate(values):
        edit_run(sweep.run_directory("a", seed), partial(add_to_top1, float(value)))
    (claim,) = reported(call, sweep)
    differences = [row["difference"] for row in claim["endpoints"][0]["per_seed"]]
    # Sums and differences of accuracies in float64, 1e-16 each.
    np.testing.assert_allclose(differences, values, atol=1e-12)
    assert claim["look"]["number"] == 2
    p = claim["endpoints"][0]["p"] / 2
    row = int("".join("0" if value > 0 else "1" for value in values), 2)
    for level, expected in ((p * 1.001, True), (p * 0.999, False)):
        assert rejected_patterns(values, (8, 12), "pocock", level)[-1][row] == expected
    assert claim["verdict"] == "supported"
    assert claim["endpoints"][0]["interval"][0] > 0


def test_at_the_last_look_an_undecided_claim_is_inconclusive(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    sweep = build(new_sweep, [Claim("a", "b")], {"a": 0.0, "b": 0.0}, rng, seeds=12, **LOOKS)
    set_differences(sweep, "a", "b", [0.01, -0.01] * 6)
    (claim,) = reported(call, sweep)
    assert (claim["verdict"], claim["look"]["next_seeds"]) == ("inconclusive", None)
    assert "the effect is too small for 1,000 seeds to decide it" in claim["sentence"]


def test_equivalence_and_several_endpoints_are_judged_at_looks(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [
        Claim("a", "b", "equivalent", margin=0.02),
        Claim("c", "b", "better", ("final_top1", "curve_area")),
        Claim("c", "b", "better", ("final_top1",), test="median"),
    ]
    effects = {"a": 0.0, "b": 0.0, "c": 0.05}
    sweep = build(new_sweep, claims, effects, rng, seeds=16, looks=(10, 16), spending="pocock")
    found = reported(call, sweep)
    assert [claim["verdict"] for claim in found] == ["equivalent", "supported", "supported"]
    assert [claim["look"]["number"] for claim in found] == [1, 1, 1]
    low, high = found[0]["endpoints"][0]["interval"]
    assert -0.02 < low < high < 0.02


# -- the command -------------------------------------------------------------------------------


def test_sweep_stops_what_no_open_claim_needs(study: Study) -> None:
    study.spread = 0.0  # elu and none end alike: no look decides that claim
    study.finals = {"none": 0.85, "relu": 0.88, "elu": 0.85}
    study.claims = "Claim('relu', 'none', 'better'), Claim('elu', 'none', 'better')"
    study.fields = "seeds=16, looks=(8, 12, 16), spending='pocock'"
    study.sweep()
    seeds = {arm: sorted(s for a, s in study.trained if a == arm) for arm in study.finals}
    # relu is decided at the first look; none goes on as the baseline of elu.
    assert seeds["relu"] == list(range(8))
    assert seeds["none"] == seeds["elu"] == list(range(16))
    record = study.record()
    assert record["experiment"]["seeds"] == list(range(16))
    assert len(record["declarations"]) == 1
    assert record["declarations"][0]["looks"] == [8, 12, 16]
    trained = list(study.trained)
    study.sweep()  # and again: nothing is left
    assert study.trained == trained
    assert len(study.record()["declarations"]) == 1
    verdict = study.verdict()
    assert verdict["grade"] == "A", verdict["grade_reasons"]
    assert json.loads((study.home / "report" / "audit.json").read_text())["complete"]


def test_a_sweep_goes_on_where_it_was_stopped(study: Study) -> None:
    study.finals = {"none": 0.85, "relu": 0.8501}
    study.fields = "seeds=12, looks=(8, 12), spending='pocock'"
    study.trainable = 5
    study.sweep()
    assert study.verdict()["verdict"] == "open"
    assert {seed for _, seed in study.trained} == set(range(8))
    study.trainable = 100
    study.trained.clear()
    study.sweep()
    assert study.verdict()["verdict"] != "open"
    assert sorted(study.trained[:6]) == sorted(itertools.product(study.finals, range(5, 8)))


@pytest.mark.parametrize(
    ("relu", "said"),
    [
        (0.88, "every claim is decided after look 1 of 2"),
        (0.85, "no look is left after look 2 of 2"),  # the claim is inconclusive, not decided
    ],
)
def test_sweep_says_whether_claims_or_looks_have_run_out(
    study: Study,
    relu: float,
    said: str,
) -> None:
    study.spread = 0.0  # arms of equal accuracy end alike
    study.finals = {"none": 0.85, "relu": relu}
    study.fields = "seeds=12, looks=(8, 12), spending='pocock'"
    _, out, _ = study.call("sweep", study.write(), "--workdir", study.home, *study.words())
    assert f"{said}; next: xception-jax report" in out
    assert out.count("next:") == 1  # not after the looks before


def test_looks_cannot_change_once_there_are_results(study: Study) -> None:
    study.fields = "seeds=12, looks=(8, 12)"
    study.sweep()
    study.fields = "seeds=12, looks=(6, 12)"
    code, _, err = study.call("sweep", study.write(), "--workdir", study.home, *study.words())
    assert code == 2
    assert "experiment.looks" in err
    assert err.count("\n") == 1
    assert "(8, 12)" in err


def test_looks_at_fewer_seeds_can_be_declared_until_there_are_results(
    study: Study,
) -> None:
    study.fields, study.interrupted = "seeds=16, looks=(8, 16), spending='pocock'", True
    study.sweep()
    study.fields, study.interrupted = "seeds=12, looks=(8, 12), spending='pocock'", False
    assert study.sweep() == ""
    claim = study.verdict()
    assert (claim["look"]["looks"], claim["grade"]) == ([8, 12], "A")
    assert study.record()["experiment"]["seeds"] == list(range(12))


def test_looks_that_are_edited_into_the_record_count_for_nothing(study: Study) -> None:
    study.sweep()
    path = study.home / "sweep.json"
    record = study.record()
    record["declarations"][0] |= {"looks": [4, 8], "spending": "pocock"}
    path.write_text(json.dumps(record))
    verdict = study.verdict()
    assert verdict["look"] is None
    assert verdict["grade"] == "C"


# -- declarations ------------------------------------------------------------------------------


def experiment(**fields: Any) -> Experiment:
    content: dict[str, Any] = {"seeds": 16, "claims": (Claim("a", "b"),), "looks": (8, 16)}
    arms: dict[str, dict[str, Any]] = {"a": {}, "b": {}}
    return Experiment("q", "so", "base.py", arms, **(content | fields))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"looks": (8,)}, "must be two numbers of seeds or more"),
        ({"looks": (8, 8)}, "increase"),
        ({"looks": (16, 8)}, "nearest valid value: (8, 16)"),
        ({"looks": (8, 12)}, "experiment.seeds=16"),
        ({"looks": (3, 16)}, "too few seeds"),
        ({"looks": 16}, "tuple of numbers"),
        ({"looks": (8.0, 16)}, "tuple of numbers"),
        ({"claims": ()}, "there is none"),
        ({"spending": "pocok"}, "pocock"),
        ({"first_seed": -1}, "experiment.first_seed"),
        ({"claims": (Claim("a", "b", endpoints=("steps_to_target",)),)}, "experiment.target"),
        (
            {"claims": (Claim("a", "b", endpoints=("steps_to_target",), pilot_seeds=5),)},
            "after 5 pilot seeds",
        ),
    ],
)
def test_looks_that_make_no_sense_are_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=re.escape(named)):
        experiment(**fields)


def test_the_record_says_looks_only_where_there_are_some() -> None:
    assert experiment().describe()["looks"] == [8, 16]
    fixed = experiment(looks=()).describe()
    assert not {"looks", "spending", "first_seed"} & set(fixed)
    assert experiment(looks=(), first_seed=7).describe()["seeds"] == list(range(7, 23))


@pytest.mark.parametrize(
    ("seeds", "claims", "said"),
    [
        (1, 1, "1 seed can decide nothing"),
        (3, 1, "3 seeds can decide nothing: a verdict takes 4 pairs"),
        (5, 1, "5 seeds cannot decide the claim: the smallest p is 0.0625; 6 seeds can"),
        (6, 2, "any of the 2 claims: the smallest p is 0.0625, adjusted for 2 claims; 7 seeds"),
        (7, 2, "7 seeds can decide every claim: the smallest p is 0.0312, adjusted"),
    ],
)
def test_what_seeds_can_decide_is_said(seeds: int, claims: int, said: str) -> None:
    described = [Claim("a", "b").describe()] * claims
    (line,) = describe_decidable(described, {"a": {}, "b": {}}, seeds)
    assert said in line


@pytest.mark.parametrize("pilot", [57, 60, 500])
def test_pilot_seeds_are_counted_in_the_seeds_that_can_decide(pilot: int) -> None:
    timed = Claim("a", "b", endpoints=("steps_to_target",), pilot_seeds=pilot).describe()
    arms: dict[str, Any] = {"a": {}, "b": {}}
    (line,) = describe_decidable([timed], arms, pilot + 20)
    assert f"{pilot + 20} seeds can decide the claim" in line
    (line,) = describe_decidable([timed], arms, pilot + 5)
    assert line.endswith(f"; {pilot + 6} seeds can decide every claim")
    untimed = [Claim("a", "b", direction).describe() for direction in ("better", "worse")]
    (line,) = describe_decidable([timed, *untimed], arms, 5)  # the others need fewer
    assert line.endswith(f"; {pilot + 6} seeds can decide every claim")


@pytest.mark.parametrize(
    ("direction", "said"),
    [
        ("better", "5 seeds cannot decide the claim: the smallest p is 0.0625"),
        ("not_worse", "5 seeds cannot decide the claim: the smallest p is 0.0625"),
        ("equivalent", "5 seeds can decide the claim: the smallest p is 0.0312"),
    ],
)
def test_of_claims_with_a_margin_only_equivalence_is_one_sided(direction: str, said: str) -> None:
    claim = Claim("a", "b", direction, margin=0.01).describe()
    assert said in describe_decidable([claim], {"a": {}, "b": {}}, 5)[0]


def test_what_each_look_can_decide_is_said() -> None:
    lines = describe_decidable(
        [Claim("a", "b").describe()], {"a": {}, "b": {}}, 32, Looks((8, 16, 32), "obrien_fleming")
    )
    assert "O'Brien and Fleming's" in lines[0]
    assert "8 seeds cannot decide the claim: the smallest p is 0.298" in lines[1]
    assert "16 seeds can decide the claim" in lines[2]


@pytest.mark.parametrize("pilot", [0, 2])
def test_a_first_look_that_can_decide_nothing_has_pairs_enough(pilot: int) -> None:
    timed = Claim("a", "b", endpoints=("steps_to_target",), target=None, pilot_seeds=pilot)
    looks = Looks((4 + pilot, 32 + pilot), "obrien_fleming")
    lines = describe_decidable([timed.describe()], {"a": {}, "b": {}}, looks.counts[-1], looks)
    assert f"{4 + pilot} seeds cannot decide the claim: the smallest p is 1" in lines[1]
    assert "a verdict takes" not in lines[1]
