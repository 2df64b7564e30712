"""Experiments whose arms come from factors: the arms, what is refused, and the whole command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.shrunk import ROOT, SHRUNK
from xception_jax.errors import InputError
from xception_jax.sweep import Effect, Experiment, Interaction, Trend, plan_runs
from xception_jax.sweep.recorded import load_recorded

ORDER, ACTIVATION = "model.order", "model.intermediate_activation"
FACTORS = {ORDER: ("depthwise_first", "pointwise_first"), ACTIVATION: ("none", "relu", "elu")}


def declare(**changes: Any) -> Experiment:
    settings: dict[str, Any] = {"name": "q", "hypothesis": "so", "base": "base.py", "seeds": 2}
    return Experiment(**(settings | {"factors": FACTORS} | changes))


def test_arms_are_all_combinations_named_by_their_levels() -> None:
    arms = declare().arms
    assert list(arms) == [
        "depthwise_first-none",
        "depthwise_first-relu",
        "depthwise_first-elu",
        "pointwise_first-none",
        "pointwise_first-relu",
        "pointwise_first-elu",
    ]
    assert arms["pointwise_first-elu"] == {ORDER: "pointwise_first", ACTIVATION: "elu"}
    assert len(plan_runs(declare(), {})) == 12


@pytest.mark.parametrize(
    ("factors", "names"),
    [
        ({"model.residual": (True, False)}, ["residual", "no_residual"]),
        ({"model.width": (0.5, 1)}, ["width_0.5", "width_1"]),
        ({"model.segments": {"deep": 1, "shallow": "per_channel"}}, ["deep", "shallow"]),
        (
            {("model.name", "optimizer.weight_decay"): (("xception", 1e-5), ("vgg", 4e-5))},
            ["xception", "vgg"],
        ),
        (
            {"size": {"small": {"model.width": 0.5, "train.epochs": 2}, "big": {"model.width": 2}}},
            ["small", "big"],
        ),
        ({"model.intermediate_activation": ("a b", "relu")}, ["a-b", "relu"]),
    ],
)
def test_levels_have_names_of_their_own(factors: Any, names: list[str]) -> None:
    assert list(declare(factors=factors).arms) == names


def test_settings_that_change_together_are_one_factor() -> None:
    zipped = {("model.name", "optimizer.weight_decay"): (("xception", 1e-5), ("vgg", 4e-5))}
    experiment = declare(
        factors=zipped | {ACTIVATION: ("none", "relu")},
        claims=(Effect("model.name", "vgg", direction="worse"),),
    )
    assert experiment.arms["vgg-relu"] == {
        "model.name": "vgg",
        "optimizer.weight_decay": 4e-5,
        ACTIVATION: "relu",
    }
    (claim,) = experiment.claims
    assert isinstance(claim, Effect)
    assert claim.weights == {
        "vgg-none": 0.5,
        "xception-none": -0.5,
        "vgg-relu": 0.5,
        "xception-relu": -0.5,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {"relu": {ACTIVATION: "relu"}}}, "experiment.arms"),
        ({"factors": {ORDER: ("depthwise_first",)}}, "two levels"),
        ({"factors": {ACTIVATION: ("relu", "relu")}}, "names two levels"),
        ({"factors": {"model.width": (1, 1.0)}}, "names two levels"),
        ({"factors": {(ORDER, "model.width"): (("depthwise_first", 1), ("x",))}}, "one value for"),
        ({"factors": FACTORS | {"more": {"a": {ORDER: "x"}, "b": {ORDER: "y"}}}}, "is in"),
        ({"factors": {ORDER: ("a-b", "a"), ACTIVATION: ("c", "b-c")}}, "name of two arms"),
        ({"factors": {"seed": (1, 2)}}, "seed"),
        ({"claims": (Effect("model.ordr"),)}, "nearest valid value: 'model.order'"),
        ({"claims": (Effect(ORDER, "pointwise"),)}, "nearest valid value: 'pointwise_first'"),
        ({"claims": (Effect(ACTIVATION),)}, "one of 3 levels"),
        ({"claims": (Effect(ACTIVATION, "none"),)}, "own level"),
        ({"claims": (Effect(ORDER, at={ORDER: "pointwise_first"}),)}, "what the claim compares"),
        ({"claims": (Effect(ORDER, at={ACTIVATION: "rleu"}),)}, "nearest valid value: 'relu'"),
        ({"claims": (Effect(ORDER), Effect(ORDER, "pointwise_first"))}, "twice"),
        ({"claims": (Interaction((ORDER, "model.width")),)}, "is no factor"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        declare(**changes)
    assert "\n" not in str(caught.value)


DECAY = "optimizer.weight_decay"
ONE_SETS_A_DECAY = {
    "models": {"plain": {"model.residual": False}, "decayed": {DECAY: 4e-5}},
    ORDER: ("depthwise_first", "pointwise_first"),
}


@pytest.mark.parametrize(
    "by_hand",
    [
        {"plain-depthwise_first": {DECAY: 1e-3}},
        {"plain-depthwise_first": {DECAY: 1e-3}, "plain-pointwise_first": {DECAY: 1e-3}},
        {"decayed-depthwise_first": {DECAY: 1e-3}},
        {"decayed-depthwise_first": {"model.residual": False}},
        {"decayed-depthwise_first": {ORDER: "pointwise_first"}},
    ],
)
def test_arms_beside_factors_are_refused(by_hand: dict[str, dict[str, Any]]) -> None:
    made = declare(factors=ONE_SETS_A_DECAY).arms
    declare(factors=ONE_SETS_A_DECAY, arms=made)  # as a record holds them
    arms = {arm: {**settings, **by_hand.get(arm, {})} for arm, settings in made.items()}
    with pytest.raises(InputError, match=r"experiment\.arms=.* since experiment\.factors makes"):
        declare(factors=ONE_SETS_A_DECAY, arms=arms)


def test_an_arm_gets_the_width_of_equal_cost_that_its_level_leaves_open() -> None:
    factors = {"size": {"wide": {"model.width": 2}, "deep": {"model.middle_modules": 3}}}
    arms = {"wide": {"model.width": 2}, "deep": {"model.middle_modules": 3, "model.width": 1.7}}
    declare(factors=factors, arms=arms, equal="parameters")
    for others in ({"equal": ""}, {"arms": {**arms, "wide": {"model.width": 2.5}}}):
        with pytest.raises(InputError, match=r"experiment\.arms"):
            declare(**({"factors": factors, "arms": arms, "equal": "parameters"} | others))


def test_an_arm_beside_factors_sets_what_its_level_sets_to_null() -> None:
    factors = {"data": {"all": {"data.train_examples": None}, "as_base": {"model.width": 0.5}}}
    arms = {"all": {}, "as_base": {"model.width": 0.5}}
    with pytest.raises(InputError, match=r"experiment\.arms"):
        declare(factors=factors, arms=arms)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arms": ("a", "b")}, "three arms"),
        ({"arms": ("a", "b", "a")}, "twice"),
        ({"baselines": ("d",)}, "must be 3 arms"),
        ({"baselines": ("a", "b", "c")}, "nothing to compare"),
        ({"scores": (1, 3, 2)}, "must increase"),
        ({"scores": (1, 2)}, "must be 3 numbers"),
        ({"direction": "equivalent"}, "claim.direction"),
        ({"margin": 0.1}, "does not go with a trend"),
        ({"endpoints": "final_top"}, "nearest valid value: 'final_top1'"),
    ],
)
def test_a_trend_that_cannot_be_is_refused(fields: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Trend(**({"arms": ("a", "b", "c")} | fields))


def design(levels: dict[str, tuple[str, ...]], compared: dict[str, str]) -> np.ndarray:
    """Columns of a full factorial model, one row an arm, the one that is sought at the end.

    A factor that is compared has an indicator of each level but its first; all others have
    indicators less their mean, so that coefficients are those at the average of their levels.
    """
    rows: np.ndarray = np.ones((1, 1))
    at = 0
    for name, of in levels.items():
        indicators = np.eye(len(of))[:, 1:]
        if name not in compared:
            indicators = indicators - 1 / len(of)
        sought = of.index(compared[name]) if name in compared else 0
        columns = np.hstack([np.ones((len(of), 1)), indicators])
        rows = np.kron(rows, columns)
        at = at * columns.shape[1] + sought
    return np.hstack([np.delete(rows, at, axis=1), rows[:, at : at + 1]])


def test_weights_are_coefficients_of_least_squares(rng: np.random.Generator) -> None:
    """The oracle is NumPy's least squares on a full factorial model of three factors."""
    factors = FACTORS | {"model.residual": (True, False)}
    names = {ORDER: FACTORS[ORDER], ACTIVATION: FACTORS[ACTIVATION]}
    names |= {"model.residual": ("residual", "no_residual")}
    claims = (
        Effect(ORDER),
        Effect(ACTIVATION, "elu"),
        Interaction((ORDER, ACTIVATION), ("pointwise_first", "relu"), ("depthwise_first", "none")),
        Interaction(tuple(factors), ("pointwise_first", "elu", False)),
    )
    compared = (
        {ORDER: "pointwise_first"},
        {ACTIVATION: "elu"},
        {ORDER: "pointwise_first", ACTIVATION: "relu"},
        {ORDER: "pointwise_first", ACTIVATION: "elu", "model.residual": "no_residual"},
    )
    experiment = declare(factors=factors, claims=claims)
    values = dict(zip(experiment.arms, rng.normal(size=12), strict=True))
    for claim, levels in zip(experiment.claims, compared, strict=True):
        found = sum(weight * values[arm] for arm, weight in claim.weights.items())  # type: ignore[union-attr]
        model = design(names, levels)
        fitted = np.linalg.lstsq(model, np.array([*values.values()]), rcond=None)[0]
        assert found == pytest.approx(fitted[-1], abs=1e-12)


def test_a_simple_effect_is_that_of_two_arms_and_an_interaction_that_of_four() -> None:
    effect = Effect(ACTIVATION, "relu", at={ORDER: "pointwise_first"})
    interaction = Interaction(
        (ACTIVATION, ORDER), ("relu", "pointwise_first"), ("none", "depthwise_first")
    )
    one, other = declare(claims=(effect, interaction)).claims
    assert one.weights == {"pointwise_first-relu": 1, "pointwise_first-none": -1}  # type: ignore[union-attr]
    assert other.weights == {  # type: ignore[union-attr]
        "pointwise_first-relu": 1,
        "pointwise_first-none": -1,
        "depthwise_first-relu": -1,
        "depthwise_first-none": 1,
    }


def test_a_trend_is_the_slope_of_least_squares(rng: np.random.Generator) -> None:
    values = rng.normal(size=8)
    arms = tuple("abcdefgh")
    scores = (0.0, 1.0, 3.0, 3.5)
    for trend, expected in (
        (Trend(arms[:4]), np.polyfit(range(4), values[:4], 1)[0]),
        (Trend(arms[:4], scores=scores), np.polyfit(scores, values[:4], 1)[0]),
        (
            Trend(arms[:4], baselines=arms[4:]),
            np.polyfit(range(4), values[:4] - values[4:], 1)[0],
        ),
        (
            Trend(arms[:4], baselines=("e",) * 4),
            np.polyfit(range(4), values[:4] - values[4], 1)[0],
        ),
    ):
        found = sum(weight * values[arms.index(arm)] for arm, weight in trend.weights.items())
        # Least squares of four numbers in float64, 1e-16 each.
        assert found == pytest.approx(expected, abs=1e-12)


TEXT = """
from xception_jax.sweep import Claim, Effect, Experiment, Interaction, Trend

def get_experiment():
    return Experiment(
        name="factors",
        hypothesis="so",
        base="{base}",
        factors={{
            "model.order": ("depthwise_first", "pointwise_first"),
            "model.intermediate_activation": ("none", "relu"),
        }},
        seeds=4,
        claims=(
            Effect("model.order", direction="equivalent", margin=0.5),
            Effect("model.intermediate_activation", at={{"model.order": "pointwise_first"}}),
            Interaction(("model.order", "model.intermediate_activation"), direction="worse"),
            Trend(("depthwise_first-none", "depthwise_first-relu", "pointwise_first-relu")),
            Claim("depthwise_first-none", "depthwise_first-relu", "not_worse", margin=0.9),
        ),
    )
"""


@pytest.mark.slow
def test_a_sweep_of_factors_from_plan_to_report(call, tmp_path: Path) -> None:
    path, home = tmp_path / "factors.py", tmp_path / "w"
    path.write_text(TEXT.format(base=ROOT / "configs" / "fashion_mnist_mini.py"))
    code, out, _ = call("plan", path)
    assert code == 0
    assert "pointwise_first better than depthwise_first" not in out
    assert "pointwise_first equivalent to depthwise_first within 0.5 on average over" in out
    code, out, err = call("sweep", path, "--workdir", home, *SHRUNK)
    assert (code, err) == (0, "")
    assert "4 arms x 4 seeds = 16 runs" in out
    recorded = load_recorded(home / "sweep.json")
    declared = recorded.experiment
    assert [row["arm"] for row in recorded.rows[:4]] == list(declared.arms)
    assert declared.describe() == json.loads((home / "sweep.json").read_text())["experiment"]
    code, out, _ = call("report", home)
    assert code == 0
    claims = json.loads((home / "report" / "verdicts.json").read_text())["claims"]
    assert [claim["n"]["pairs"] for claim in claims] == [4] * 5
    assert [claim["declared"] for claim in claims] == ["before the runs"] * 5
    assert "grade A" in (home / "report" / "index.html").read_text()
    code, out, err = call("sweep", home / "sweep.json", "--workdir", home, "--seeds", 4)
    assert (code, err) == (0, "")  # nothing is declared anew
    code, _, err = call("sweep", path, "--workdir", tmp_path / "x", "model.order=depthwise_first")
    assert (code, len(err.splitlines())) == (2, 1)
