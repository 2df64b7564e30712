"""Claims over several bases: the verdict on each, over all, and how often it is wrong."""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.statistics.test_verdicts import Call, NewSweep, reported
from tests.synthetic_bases import build_on_bases
from tests.synthetic_sweep import SweepWriter, edit_run
from xception_jax.report.reading import read_directory
from xception_jax.statistics.across import read_across, targets
from xception_jax.statistics.bases import parts_of
from xception_jax.statistics.contrasts import contrasts, pairs
from xception_jax.statistics.paired import holm, partial_conjunction
from xception_jax.statistics.runs import Runs
from xception_jax.statistics.verdicts import open_arms
from xception_jax.sweep import Claim, Trend
from xception_jax.sweep.contrast_claims import AnyClaim

BETTER = Claim("a", "b")
EFFECT = {"a": 0.05, "b": 0.0}
REVERSE = {"a": -0.05, "b": 0.0}


def verdicts_of(claim: Mapping[str, Any]) -> dict[str, str]:
    """The verdict on each base, by its name."""
    return {each["base"]: each["verdict"] for each in claim["bases"]}


def without_an_effect(sweep: SweepWriter, base: str) -> None:
    """Makes the differences on a base as often positive as negative, and alike in size."""
    for seed in sweep.seeds:
        value = json.loads((sweep.run_directory(f"{base}-b", seed) / "run.json").read_text())
        top1 = value["result"]["top1"] + 0.01 * (-1) ** seed

        def change(record: dict[str, Any], top1: float = top1) -> None:
            record["result"]["top1"] = top1

        edit_run(sweep.run_directory(f"{base}-a", seed), change)


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
def test_at_least_so_many_bases(
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


def test_a_base_without_any_result_is_named_beside_the_others(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    effects = {"x": EFFECT, "y": EFFECT, "z": EFFECT}
    skip = tuple((f"z-{arm}", seed) for arm in EFFECT for seed in range(8))
    (claim,) = reported(
        call, build_on_bases(new_sweep, [BETTER], effects, rng, at_least=2, skip=skip)
    )
    assert claim["verdict"] == "supported"
    assert "nothing on z" in claim["sentence"]


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


def test_on_each_base_the_numbers_are_those_of_a_sweep_of_its_own(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator, tmp_path: Any
) -> None:
    """Also where a base has other classes and a run that diverges, which counts as its chance."""
    effects = {"mini": EFFECT, "wide": {"a": 0.02, "b": 0.0}}
    claims = [BETTER, Claim("a", "b", "better", ("curve_area", "steps_to_target"))]
    sweep = build_on_bases(new_sweep, claims, effects, rng)
    for seed in sweep.seeds:
        for arm in "ab":
            edit_run(sweep.run_directory(f"wide-{arm}", seed), lambda r: r.update(classes=2))
    edit_run(sweep.run_directory("wide-b", 3), lambda r: r.update(status="diverged", result=None))
    together = reported(call, sweep)
    whole = read_directory(sweep.directory)
    for base in effects:
        alone = SweepWriter(
            tmp_path / base,
            arms={
                f"{base}-{arm}": {"data.name": f"data_{base}", "model.name": arm} for arm in "ab"
            },
            seeds=sweep.seeds,
            claims=[
                {**claim.describe(), "arm": f"{base}-a", "baseline": f"{base}-b"}
                for claim in claims
            ],
        )
        for arm in "ab":
            for seed in sweep.seeds:
                source = sweep.run_directory(f"{base}-{arm}", seed)
                target = alone.run_directory(f"{base}-{arm}", seed)
                for path in source.iterdir():
                    (target / path.name).write_bytes(path.read_bytes())
        found = reported(call, alone)
        for one, other in zip(together, found, strict=True):
            judged = next(each for each in one["bases"] if each["base"] == base)
            assert judged["n"] == other["n"]
            for mine, theirs in zip(judged["endpoints"], other["endpoints"], strict=True):
                unlike = {name for name in theirs if mine[name] != theirs[name]}
                # What depends on the number of claims, and so on that of the bases.
                assert unlike <= {"p_adjusted", "needed_n", "minimum_detectable_effect"}
        assert targets(whole)[base] == targets(read_directory(alone.directory))  # type: ignore[index]


def test_arms_are_compared_within_a_base_only(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    arms = {**EFFECT, "c": 0.0}
    sweep = read_directory(
        build_on_bases(new_sweep, [BETTER], {"x": arms, "y": arms}, rng).directory
    )
    assert [each.name for each in contrasts(sweep)] == [
        "a − b on x",
        "a − b on y",
        "x-c − x-a",
        "y-c − y-a",
    ]
    assert all(one[0] == other[0] for one, other in pairs(sweep))
    for part in parts_of(sweep):
        assert {run.arm[0] for run in part.runs} == {part.bases[0].name}
        assert set(part.curves["run"]) == set(range(len(part.runs)))
        assert set(part.curves["arm"]) == set(part.arms)


def test_what_is_decided_over_all_is_decided_on_each(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    """Six seeds reach p = 1/32 on either base, which Holm's method over the two would double."""
    effects = {"x": EFFECT, "y": EFFECT}
    (claim,) = reported(call, build_on_bases(new_sweep, [BETTER], effects, rng, seeds=6))
    assert claim["endpoints"][0]["p"] == 2 / 64
    assert claim["verdict"] == "supported"
    assert verdicts_of(claim) == {"x": "supported", "y": "supported"}
    assert {each["endpoints"][0]["p_adjusted"] for each in claim["bases"]} == {2 / 64}


def test_verdicts_on_bases_are_adjusted_over_claims_and_bases(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    """The smallest p, 1/128, counts four times among those of two claims on two bases."""
    arms = {"a": 0.05, "b": 0.0, "c": 0.0}
    effects = {"x": arms, "y": {**arms, "a": 0.0}}
    sweep = build_on_bases(new_sweep, [BETTER, Claim("c", "b")], effects, rng)
    without_an_effect(sweep, "y")
    one, other = reported(call, sweep)
    p_values = [each["endpoints"][0]["p"] for claim in (one, other) for each in claim["bases"]]
    assert p_values[0] == 2 / 256
    expected = holm(p_values)
    found = [
        each["endpoints"][0]["p_adjusted"] for claim in (one, other) for each in claim["bases"]
    ]
    assert found == pytest.approx(list(expected))


def test_a_base_that_the_record_has_lost_is_one_without_the_effect(
    new_sweep: NewSweep, call: Call, rng: np.random.Generator
) -> None:
    sweep = build_on_bases(new_sweep, [BETTER], {"x": EFFECT, "y": EFFECT, "z": REVERSE}, rng)
    path = sweep.directory / "sweep.json"
    content = json.loads(path.read_text())
    del content["experiment"]["arms_on"]["z"]
    path.write_text(json.dumps(content))
    (claim,) = reported(call, sweep)
    assert claim["verdict"] == "not tested"
    assert claim["endpoints"][0]["p"] == 1.0
    assert "1 of its 3 bases is no longer in the record" in claim["sentence"]


@pytest.mark.parametrize(
    "arms_on",
    [
        3,
        {"x": 3, "y": {}},
        {"x": {"a": "y-a"}, "y": {"a": 4, "b": None}},
        {"x": {"a": "x-a", "b": "x-b"}, "": {"a": "x-a", "b": "x-b"}},
        {str(number): {"a": "x-a", "b": "x-b"} for number in range(30)},
    ],
)
def test_a_record_of_bases_that_makes_no_sense_breaks_no_report(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator, arms_on: Any
) -> None:
    sweep = build_on_bases(new_sweep, [BETTER], {"x": EFFECT, "y": EFFECT}, rng, seeds=4)
    path = sweep.directory / "sweep.json"
    content = json.loads(path.read_text())
    content["experiment"]["arms_on"] = arms_on
    path.write_text(json.dumps(content))
    (claim,) = reported(call, sweep)
    assert claim["verdict"] in {"not tested", "inconclusive"}


def test_too_few_seeds_on_a_base_are_said(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    skip = tuple((f"y-{arm}", seed) for arm in "ab" for seed in range(3, 8))
    effects = {"x": EFFECT, "y": EFFECT}
    (claim,) = reported(call, build_on_bases(new_sweep, [BETTER], effects, rng, skip=skip))
    assert (claim["verdict"], claim["grade"]) == ("not tested", "C")
    assert "on y 3 of 8 planned seeds have their runs" in claim["sentence"]
    assert verdicts_of(claim) == {"x": "supported", "y": "not tested"}
    assert any(reason.startswith("y: 5 of 8 planned") for reason in claim["grade_reasons"])


def test_a_look_is_reached_when_it_is_on_every_base(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    skip = tuple((f"y-{arm}", seed) for arm in "ab" for seed in range(7, 12))
    looks: dict[str, Any] = {"looks": (8, 12), "spending": "pocock"}
    effects = {"x": EFFECT, "y": EFFECT}
    sweep = build_on_bases(new_sweep, [BETTER], effects, rng, seeds=12, skip=skip, **looks)
    (claim,) = reported(call, sweep)
    assert (claim["verdict"], claim["endpoints"]) == ("open", [])
    assert "the first look is at 8 seeds" in claim["sentence"]
    assert open_arms(read_directory(sweep.directory)) == {"x-a", "x-b", "y-a", "y-b"}


def test_a_look_decides_over_all_bases(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    looks: dict[str, Any] = {"looks": (8, 12), "spending": "pocock"}
    effects = {"x": {**EFFECT, "c": 0.0}, "y": {**EFFECT, "c": 0.0}}
    claims = [BETTER, Claim("c", "b", "equivalent", margin=1e-6)]
    skip = tuple(("y-c", seed) for seed in range(8, 12))
    sweep = build_on_bases(new_sweep, claims, effects, rng, seeds=12, skip=skip, **looks)
    decided, waiting = reported(call, sweep)
    assert (decided["verdict"], decided["look"]["number"]) == ("supported", 1)
    assert waiting["verdict"] == "open"
    assert "it is open whether c and b are equivalent" in waiting["sentence"]
    assert open_arms(read_directory(sweep.directory)) == {"x-c", "x-b", "y-c", "y-b"}


def test_the_declared_claims_are_read_once(new_sweep: NewSweep, rng: np.random.Generator) -> None:
    effects = {"x": EFFECT, "y": EFFECT}
    sweep = read_directory(build_on_bases(new_sweep, [BETTER], effects, rng).directory)
    (across,) = read_across(sweep, [Runs(part) for part in parts_of(sweep)])
    assert not across.claim.post_hoc
    assert across.claim.arms == ("a", "b")
    assert [case.claim.arms for case in across.cases] == [("x-a", "x-b"), ("y-a", "y-b")]
