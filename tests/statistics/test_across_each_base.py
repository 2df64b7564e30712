"""The verdict on each base of a claim: its numbers, its comparisons, and its adjustment."""

from typing import Any

import numpy as np
import pytest

from tests.known_effects import reported
from tests.programs import Call
from tests.statistics.effects_on_bases import BETTER, EFFECT, verdicts_of, without_an_effect
from tests.synthetic_bases import build_on_bases
from tests.synthetic_sweep import NewSweep, SweepWriter, edit_run
from xception_jax.report.reading import read_directory
from xception_jax.statistics.across import known_targets
from xception_jax.statistics.bases import parts_of
from xception_jax.statistics.contrasts import contrasts, pairs
from xception_jax.statistics.paired import holm
from xception_jax.sweep import Claim


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
        assert known_targets(whole)[base] == known_targets(read_directory(alone.directory))  # type: ignore[index]


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
