"""Experiments as they are declared: what is planned, and what is refused."""

from typing import Any

import pytest

from xception_jax.config import flatten, load_config, resolve
from xception_jax.errors import InputError
from xception_jax.sweep import Claim, Experiment, load_experiment, plan_runs
from xception_jax.sweep.loading import apply_overrides

ARMS: dict[str, dict[str, Any]] = {"none": {}, "relu": {"model.intermediate_activation": "relu"}}


def declare(**changes: Any) -> Experiment:
    settings: dict[str, Any] = {
        "name": "question",
        "hypothesis": "so",
        "base": "base.py",
        "arms": ARMS,
        "seeds": 2,
    }
    return Experiment(**(settings | changes))


def test_the_plan_has_every_arm_of_a_seed_before_the_next_seed(experiment):
    described, base = load_experiment(experiment)
    runs = plan_runs(described, base)
    assert [(run.arm, run.seed) for run in runs[:4]] == [
        ("none", 0),
        ("relu", 0),
        ("elu", 0),
        ("none", 1),
    ]
    assert len(runs) == 3 * described.seeds
    assert len({run.id for run in runs}) == len(runs)
    for run in runs:
        assert run.config.seed == run.seed
        assert run.config.model.block.intermediate_activation == run.arm
        assert run.directory == f"runs/{run.name}-{run.id[:8]}"


def test_arms_differ_in_nothing_else(experiment):
    none, relu, *_ = plan_runs(*load_experiment(experiment))
    one, other = flatten(none.config), flatten(relu.config)
    assert {k for k in one if one[k] != other[k]} == {"model.intermediate_activation"}


def test_overrides_hold_for_every_arm():
    runs = plan_runs(*apply_overrides(declare(), {}, ["train.epochs=0.5"]))
    assert {run.config.train.epochs for run in runs} == {0.5}


def test_overrides_replace_what_all_arms_set_alike():
    arms = {arm: {**settings, "model.width": 1.93} for arm, settings in ARMS.items()}
    runs = plan_runs(*apply_overrides(declare(arms=arms), {}, ["model.width=1.0"]))
    assert {run.config.model.width for run in runs} == {1.0}
    assert [run.config.model.block.intermediate_activation for run in runs] == ["none", "relu"] * 2


def test_the_last_word_holds_for_arms_and_base():
    """Also where an earlier one is about the group of what every arm sets."""
    arms = {arm: {**settings, "optimizer.options.b2": 0.9} for arm, settings in ARMS.items()}
    words = ["optimizer.options={'b1': 0.8}", "optimizer.options.b2=0.5"]
    experiment, base = apply_overrides(declare(arms=arms), {}, words)
    runs = plan_runs(experiment, base)
    for config in (base, *(run.config for run in runs)):
        assert dict(config.optimizer.options) == {"b1": 0.8, "b2": 0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a b"}, "nearest valid value: 'a-b'"),
        ({"name": ""}, "experiment.name"),
        ({"arms": {}}, "at least one arm"),
        ({"arms": {"../up": {}}}, "nearest valid value: 'up'"),
        ({"seeds": 0}, "nearest valid value: 1"),
        ({"seeds": True}, "must be an integer"),
        ({"seeds": 10**9}, "nearest valid value: 10000"),
        ({"claims": (Claim("rleu", "none"),)}, "nearest valid value: 'relu'"),
    ],
)
def test_what_cannot_be_an_experiment_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        declare(**changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"direction": "beter"}, "nearest valid value: 'better'"),
        ({"endpoints": ("final_top",)}, "nearest valid value: 'final_top1'"),
        ({"direction": "equivalent"}, "margin"),
        ({"margin": -0.1}, "margin"),
    ],
)
def test_what_cannot_be_a_claim_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Claim("relu", "none", **settings)


@pytest.mark.parametrize(
    ("arms", "overrides", "message"),
    [
        ({"one": {}, "other": {}}, [], "same run as arm 'one'"),
        ({"one": {"model.ordr": "x"}}, [], "nearest valid value: 'model.order'"),
        (ARMS, ["model.intermediate_activation=elu"], "'relu' sets itself"),
        ({"one": {"model.width": 1}, "other": {"model.width": 2}}, ["model.width=3"], "'one' sets"),
        (ARMS, ["seed=3"], "--seeds"),
    ],
)
def test_what_cannot_be_planned_is_refused(arms, overrides, message):
    with pytest.raises(InputError, match=message):
        plan_runs(*apply_overrides(declare(arms=arms), {}, overrides))


def test_a_file_that_returns_something_else_is_refused(tmp_path):
    path = tmp_path / "experiment.py"
    path.write_text("def get_experiment():\n    return 3\n")
    with pytest.raises(InputError, match="returns int"):
        load_experiment(path)


def test_the_configs_of_the_repository_are_valid(experiment):
    root = experiment.parents[1]
    configs = sorted((root / "configs").glob("*.py"))
    experiments = sorted((root / "experiments").rglob("*.py"))
    assert configs
    assert experiments
    for path in configs:
        resolve(load_config(path))
    for path in experiments:
        described, base = load_experiment(path)
        assert plan_runs(described, base)
        assert described.claims
