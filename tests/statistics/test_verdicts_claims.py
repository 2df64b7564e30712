"""When a claim was made: what the ledger keeps, and what `plan` says before any run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic_sweep import STEPS, SweepWriter, saturating
from xception_jax.config import resolve
from xception_jax.errors import InputError
from xception_jax.report.reading import read_directory
from xception_jax.runtime.run_directory import update_run
from xception_jax.statistics.claims import recorded_claims
from xception_jax.statistics.power import (
    ALPHA,
    Design,
    equal_correlation,
    minimum_detectable_effect,
)
from xception_jax.sweep import Claim, Experiment, plan_runs
from xception_jax.sweep.ledger import write_ledger

ROOT = Path(__file__).resolve().parents[2]
ARMS = {"none": {}, "relu": {"model.intermediate_activation": "relu"}}
EXPERIMENT = Experiment("q", "so", "base.py", ARMS, 2, (Claim("relu", "none", "worse"),))


def recorded(home: Path, *claims: Claim) -> list[tuple[str, bool]]:
    """(title, post hoc) of every claim after a sweep with these claims was started in `home`."""
    experiment = replace(EXPERIMENT, claims=claims)
    base = resolve()
    runs = plan_runs(experiment, base)
    write_ledger(home, experiment, base, runs, "xception-jax sweep q.py")
    return [(claim.title, claim.post_hoc) for claim in recorded_claims(read_directory(home))]


def test_claims_made_or_changed_after_the_first_run_are_post_hoc(tmp_path: Path) -> None:
    worse, better = Claim("relu", "none", "worse"), Claim("relu", "none", "better")
    area = Claim("relu", "none", "worse", ("curve_area",))
    titles = [
        f"relu {each.direction} than none: {each.endpoints[0]}" for each in (worse, better, area)
    ]
    assert recorded(tmp_path, worse) == [(titles[0], False)]
    assert recorded(tmp_path, better) == [(titles[1], False)]  # no run has begun
    run = plan_runs(EXPERIMENT, {})[0]
    (tmp_path / run.directory).mkdir(parents=True)
    update_run(tmp_path / run.directory, status="running")
    assert recorded(tmp_path, worse) == [(titles[1], False), (titles[0], True)]
    expected = [(titles[1], False), (titles[0], True), (titles[2], True)]
    assert recorded(tmp_path, better, area) == recorded(tmp_path) == expected
    path = tmp_path / "sweep.json"
    record = json.loads(path.read_text())
    record["experiment"]["claims"][0]["direction"] = "worse"
    path.write_text(json.dumps(record))
    assert [late for _, late in recorded(tmp_path)] == [True, True, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"endpoints": "final_top1"}, "must be a tuple"),
        ({"endpoints": ("curve_area", "curve_area")}, "twice"),
        ({"direction": "equivalent", "margin": -0.01}, "positive"),
        ({"direction": "equivalent", "margin": "0.01"}, "positive"),
        ({"direction": "better", "margin": 0}, "positive"),
        ({"direction": "equivalent"}, "claim.margin: is needed by direction='equivalent'"),
        ({"direction": "not_worse"}, "claim.margin: is needed by direction='not_worse'"),
        ({"direction": "not-worse", "margin": 0.01}, "nearest valid value: 'not_worse'"),
        ({"target": 0.8}, "goes with 'steps_to_target'"),
        ({"target": 80, "endpoints": ("steps_to_target",)}, "between 0 and 1"),
        ({"test": "mode"}, "nearest valid value: 'mean'"),
        ({"pilot_seeds": -1, "endpoints": ("steps_to_target",)}, "nearest valid value: 0"),
        ({"versus": ("a",)}, "two arms"),
        ({"versus": ("relu", "none")}, "own contrast"),
        ({"baseline": "relu"}, "own arm"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_cannot_be_tested_is_refused_in_one_line(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Claim(**({"arm": "relu", "baseline": "none"} | settings))
    assert "\n" not in str(caught.value)


def test_a_claim_is_declared_once_and_about_arms_that_exist() -> None:
    claim = Claim("relu", "none")
    with pytest.raises(InputError, match="twice"):
        replace(EXPERIMENT, claims=(claim, claim))
    with pytest.raises(InputError, match="nearest valid value: 'relu'"):
        replace(EXPERIMENT, claims=(replace(claim, versus=("rleu", "none")),))


TIMED = Claim("relu", "none", "better", ("steps_to_target",))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": 80}, "experiment.target=80: must be between 0 and 1"),
        ({"target": 0.8, "claims": (replace(TIMED, target=0.7),)}, "nearest valid value: 0.8"),
        ({"target": 0.8, "claims": (replace(TIMED, pilot_seeds=2),)}, "given already"),
        (
            {"claims": (TIMED, replace(TIMED, direction="worse", pilot_seeds=2))},
            "gives a second target",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_a_second_target_is_refused_in_one_line(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        replace(EXPERIMENT, **fields)
    assert "\n" not in str(caught.value)


def test_the_target_of_an_experiment_is_that_of_all_its_claims() -> None:
    claims = (TIMED, Claim("relu", "none"), replace(TIMED, direction="worse"))
    declared = replace(EXPERIMENT, target=0.8, claims=claims)
    assert [claim.target for claim in declared.claims] == [0.8, None, 0.8]
    given = (replace(TIMED, target=0.7), replace(TIMED, direction="worse"))
    assert [claim.target for claim in replace(EXPERIMENT, claims=given).claims] == [0.7, 0.7]
    with pytest.raises(InputError, match="twice"):
        replace(EXPERIMENT, claims=(replace(TIMED, target=0.7), TIMED))


def test_the_plan_says_what_the_claims_can_detect(
    call: Callable, new_sweep: Callable[..., SweepWriter], tmp_path: Path
) -> None:
    path = ROOT / "experiments" / "residual.py"
    text = path.read_text().replace("../configs", str(ROOT / "configs"))

    def with_seeds(count: int) -> Path:
        assert "seeds=8" in text
        copy = tmp_path / f"{count}_seeds.py"
        copy.write_text(text.replace("seeds=8", f"seeds={count}"))
        return copy

    code, out, _ = call("plan", with_seeds(5))
    assert code == 0
    assert "none: 5 seeds cannot give p < 0.025" in out
    arms: dict[str, dict[str, Any]] = {"residual": {}, "plain": {}}
    pilot = new_sweep(arms=arms, seeds=(0, 1, 2))
    finals = {"residual": (0.8, 0.82, 0.84), "plain": (0.79, 0.79, 0.79)}
    for arm, values in finals.items():
        for seed, final in enumerate(values):
            pilot.add_run(arm, seed, steps=STEPS, top1=saturating(final), test_top1=final)
    code, out, _ = call("plan", with_seeds(12), "--pilot", pilot.directory)
    assert code == 0
    # Three pairs tell the spread, and not how the two endpoints of each claim hang together.
    low, high = (
        minimum_detectable_effect(12, Design(ALPHA / 2, equal_correlation(2, value)))
        for value in (0.9, 0.0)
    )
    assert low is not None
    assert high is not None
    assert f"{0.02 * low:.3g} to {0.02 * high:.3g} accuracy (spread of 3 pairs)" in out
    assert "Tests are at 0.025, which Holm asks of the first" in out
    code, out, err = call("plan", ROOT / "experiments" / "order.py", "--pilot", pilot.directory)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "has no two finished pairs that a claim compares" in err
