"""Records of several bases: read once, reported where a base is incomplete, lost or nonsense."""

import json
from typing import Any

import numpy as np
import pytest

from tests.known_effects import reported
from tests.programs import Call
from tests.statistics.effects_on_bases import BETTER, EFFECT, REVERSE, verdicts_of
from tests.synthetic_bases import build_on_bases
from tests.synthetic_sweep import NewSweep
from xception_jax.report.reading import read_directory
from xception_jax.statistics.across import read_across
from xception_jax.statistics.bases import parts_of
from xception_jax.statistics.runs import Runs


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
        pytest.param({"x": 3, "y": {}}, marks=pytest.mark.slow),
        {"x": {"a": "y-a"}, "y": {"a": 4, "b": None}},
        pytest.param(
            {"x": {"a": "x-a", "b": "x-b"}, "": {"a": "x-a", "b": "x-b"}}, marks=pytest.mark.slow
        ),
        {base: {"a": "x-a", "b": "x-b"} for base in "pqr"},  # none that the claim is about
    ],
)
def test_a_record_of_bases_that_makes_no_sense_breaks_no_report(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator, arms_on: Any
) -> None:
    sweep = build_on_bases(new_sweep, [BETTER], {"x": EFFECT, "y": EFFECT}, rng)
    path = sweep.directory / "sweep.json"
    content = json.loads(path.read_text())
    content["experiment"]["arms_on"] = arms_on
    path.write_text(json.dumps(content))
    (claim,) = reported(call, sweep)
    assert claim["verdict"] == "not tested"


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


def test_the_declared_claims_are_read_once(new_sweep: NewSweep, rng: np.random.Generator) -> None:
    effects = {"x": EFFECT, "y": EFFECT}
    sweep = read_directory(build_on_bases(new_sweep, [BETTER], effects, rng).directory)
    (across,) = read_across(sweep, [Runs(part) for part in parts_of(sweep)])
    assert not across.claim.post_hoc
    assert across.claim.arms == ("a", "b")
    assert [case.claim.arms for case in across.cases] == [("x-a", "x-b"), ("y-a", "y-b")]
