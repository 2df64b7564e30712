"""Tuning without training: the declaration, the grid and the choice."""

import itertools
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.sweep.tuning_landscape import (
    DECAY,
    RATE,
    RATES,
    Landscape,
    declare,
    hill,
    tried,
    tuned,
)
from xception_jax.errors import InputError
from xception_jax.runtime import run_directory
from xception_jax.statistics.selection import Point, best_point, is_geometric, value_beyond
from xception_jax.sweep import Tune, plan_runs
from xception_jax.sweep.experiment import MOST_FIRST_SEED, MOST_SEEDS
from xception_jax.sweep.tuning_runs import score, tuning_runs

# -- the grid ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "lower", "upper"),
    [
        (RATES, 0.0125, 0.8),
        ((0.01, 0.1), 0.001, 1.0),
        ((0.1, 0.2, 0.3), 0.0, 0.4),
        ((0.0, 0.25, 0.5), -0.25, 0.75),
        ((0.0, 1e-5, 1e-4, 1e-3), None, 1e-2),  # nothing lies below no weight decay
        ((16, 32, 64), 8, 128),
        ((0.01, 0.03, 0.1), 0.00333333, 0.333333),
        ((-2.0, -1.0), -3.0, 0.0),
    ],
)
def test_a_step_beyond_the_edge_is_as_the_grid(values, lower, upper):
    assert value_beyond(values, "lower") == lower
    assert value_beyond(values, "upper") == upper
    assert all(isinstance(v, int) for v in values) == isinstance(value_beyond(values, "upper"), int)


def test_steps_beyond_the_edge_agree_with_exact_fractions(rng):
    for _ in range(200):
        count, start = int(rng.integers(2, 7)), Fraction(int(rng.integers(1, 100)), 1000)
        factor = Fraction(int(rng.integers(3, 20)), 2)
        geometric = [start * factor**k for k in range(count)]
        step = Fraction(int(rng.integers(1, 50)), 100)
        arithmetic = [start + step * k for k in range(max(count, 3))]
        for exact, below, above in (
            (geometric, geometric[0] / factor, geometric[-1] * factor),
            (arithmetic, arithmetic[0] - step, arithmetic[-1] + step),
        ):
            values = tuple(map(float, exact))
            # Values beyond the edge are rounded to six digits, by up to 5e-6 of themselves.
            assert value_beyond(values, "lower") == pytest.approx(float(below), rel=6e-6, abs=1e-9)
            assert value_beyond(values, "upper") == pytest.approx(float(above), rel=6e-6)
        assert is_geometric(tuple(map(float, geometric)))


def test_the_best_mean_wins_and_ties_go_to_the_smaller():
    assert best_point({(0.1,): [0.5, 0.7], (0.2,): [0.6, 0.61], (0.4,): [0.9, 0.1]}) == (0.2,)
    tie: dict[Point, list[float]] = {
        (0.2,): [0.1, 0.2, 0.3],
        (0.1,): [0.3, 0.2, 0.1],
        (0.4,): [0.2, 0.3, 0.1],
    }
    assert best_point(tie) == (0.1,)
    # 39 of 2 x 180 examples, however they are spread over the seeds and rounded.
    for one, other in itertools.product(range(40), repeat=2):
        spread = [(count / 180, (39 - count) / 180) for count in (one, other)]
        shares: dict[Point, tuple[float, float]] = {(0.1,): spread[0], (0.2,): spread[1]}
        assert best_point(shares) == (0.1,)
    assert best_point({(0.2, 1e-5): [0.6], (0.1, 1e-4): [0.6], (0.1, 1e-5): [0.6]}) == (0.1, 1e-5)


# -- the declaration ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("optimizer.learningrate", (0.1, 0.2)), "nearest valid value: 'optimizer.learning_rate'"),
        ((RATE, (0.1,)), "must be two or more values that differ"),
        ((RATE, (0.1, 0.1, 0.2)), "must be two or more values that differ"),
        ((RATE, (0.1, "0.2")), "tune.values='0.2': must be numbers"),
        ((RATE, (0.1, float("nan"))), "must be numbers"),
        ((RATE, (0.1, 2e3)), "optimizer.learning_rate=2000.0: must be a number from 0 to 1000"),
        ((RATE, 0.1), "must be a tuple of values"),
        (((RATE, DECAY), (0.1, 0.2)), "must be a tuple of values"),
        (((RATE, RATE), (RATES, RATES)), "must be one setting, or two that differ"),
        (((RATE, DECAY, "model.dropout"), (RATES, RATES, RATES)), "must be one setting, or two"),
        ((RATE, RATES, 0), "tune.seeds=0: must be an integer from 1 to 1000"),
        ((RATE, RATES, 2, -1.0), "train.epochs=-1.0"),
        (("seed", (1, 2)), "is the same for all runs"),
        (("train.epochs", (1, 2)), "is the same for all runs"),
        (("data.train_examples", (100, 200)), "is the same for all runs"),
        (("evaluation.batch_size", (100, 200)), "changes no result"),
        (("optimizer.schedule", ("cosine", "constant")), "must be numbers"),
    ],
)
def test_a_wrong_declaration_is_one_line(arguments, message):
    with pytest.raises(InputError) as caught:
        Tune(*arguments)
    assert message in str(caught.value)


def test_what_is_tuned_cannot_be_set_otherwise():
    tune = Tune(RATE, RATES)
    with pytest.raises(InputError, match=r"is what experiment\.tune chooses .*'b'"):
        declare(tune, arms={"a": {}, "b": {RATE: 0.1}}, claims=())
    with pytest.raises(InputError, match=r"experiment\.tune='yes': must be Tune"):
        declare("yes")  # type: ignore[arg-type]


def test_no_sweep_can_have_a_seed_of_tuning():
    seeds = Tune(RATE, RATES, seeds=1_000).seed_numbers  # as many as tuning can have
    with pytest.raises(InputError, match="nearest valid value: 1000"):
        Tune(RATE, RATES, seeds=1_001)
    assert min(seeds) >= MOST_FIRST_SEED + MOST_SEEDS


def test_the_declaration_survives_its_record():
    for tune in (Tune(RATE, RATES), Tune((RATE, DECAY), (RATES, (0.0, 1e-5)), 3, 2.0)):
        assert Tune.read(json.loads(json.dumps(tune.describe()))) == tune
    assert Tune(RATE, (0.4, 0.1)).values == ((0.1, 0.4),)
    of_numpy = Tune(RATE, RATES, epochs=np.float32(2))  # type: ignore[arg-type]
    assert json.dumps(of_numpy.describe()) == json.dumps(Tune(RATE, RATES, epochs=2).describe())
    assert "tune" not in declare(None).describe()  # type: ignore[arg-type]


def test_every_arm_has_the_same_budget_on_seeds_of_its_own():
    tune = Tune((RATE, DECAY), ((0.1, 0.2), (1e-5, 1e-4, 1e-3)), seeds=3, epochs=2)
    experiment = declare(tune)
    runs = tuning_runs(experiment, {}, list(experiment.arms))
    assert len(runs) == len({run.id for run in runs}) == 2 * 6 * 3
    seeds = {run.seed for run in runs}
    assert seeds == {2_000_000_000, 1_999_999_999, 1_999_999_998}
    assert {run.config.train.epochs for run in runs} == {2.0}
    of_arms = {
        arm: [(r.seed, r.point, dict(r.settings)) for r in runs if r.arm == arm]
        for arm in experiment.arms
    }
    assert of_arms["none"] == of_arms["relu"]
    assert all(run.directory.startswith("tuning/") for run in runs)
    assert len({run.directory for run in runs}) == len(runs)


# -- the procedure -----------------------------------------------------------------------------


def test_each_arm_gets_its_own_best_value_and_its_runs_have_it(tmp_path):
    train = Landscape(tmp_path, hill({"none": 0.05, "relu": 0.2}))
    experiment, record, said = tuned(tmp_path, declare(Tune(RATE, RATES)), train)
    assert train.calls == [20]  # two arms, five values, two seeds: no best value is at the edge
    chosen = {arm: settings[RATE] for arm, settings in experiment.arms.items()}
    assert chosen == {"none": 0.05, "relu": 0.2}
    runs = plan_runs(experiment, {})
    assert {(r.arm, r.config.optimizer.learning_rate) for r in runs} == {*chosen.items()}
    assert all(not entry["at_edge"] for entry in record["arms"].values())
    assert said == ["tuning: none: learning_rate=0.05", "tuning: relu: learning_rate=0.2"]
    ledger = json.loads((tmp_path / "sweep.json").read_text())
    assert ledger["experiment"]["tuned"] == record
    assert [row["id"] for row in ledger["runs"]] == [run.id for run in runs]
    assert ledger["experiment"]["seeds"] == [0, 1, 2, 3]
    assert len(ledger["declarations"]) == 1  # declared before tuning, and the same after it


def test_arms_whose_tuning_runs_are_alike_are_all_tuned(tmp_path):
    """Their runs have the same id where they differ only in the epochs, which tuning sets."""
    arms = {"short": {"train.epochs": 2.0}, "long": {"train.epochs": 3.0}}
    experiment = declare(Tune(RATE, RATES, epochs=1), arms=arms, claims=())
    assert len({run.id for run in tuning_runs(experiment, {}, list(arms))}) == 5 * 2
    train = Landscape(tmp_path, hill({"short": 0.05, "long": 0.2}))
    experiment, record, _ = tuned(tmp_path, experiment, train)
    assert train.calls == [2 * 5 * 2]
    assert experiment.untuned == ()
    assert {arm: settings[RATE] for arm, settings in experiment.arms.items()} == {
        "short": 0.05, "long": 0.2,
    }  # fmt: skip
    assert tried(record, "short") == tried(record, "long") == [(rate,) for rate in RATES]


def test_the_grid_is_extended_for_all_arms_at_most_twice_and_then_marked(tmp_path):
    train = Landscape(tmp_path, hill({"none": 0.1, "relu": 100.0}))
    _, record, said = tuned(tmp_path, declare(Tune(RATE, RATES)), train)
    assert train.calls == [20, 4, 4]
    expected = [(rate,) for rate in (*RATES, 0.8, 1.6)]
    assert tried(record, "none") == tried(record, "relu") == expected
    assert record["arms"]["none"] | {"at": ""} == {
        "chosen": {RATE: 0.1}, "mean": 0.9, "at_edge": {}, "at": "",
        "known": {"begun": 0, "results": 0, "reported": False},
    }  # fmt: skip
    assert record["arms"]["relu"]["chosen"] == {RATE: 1.6}
    assert record["arms"]["relu"]["at_edge"] == {RATE: "upper"}
    assert (
        said[0] == "tuning: the best of relu lies at the edge; all arms also try learning_rate=0.8"
    )


def test_a_value_that_will_not_be_tried_is_not_checked(tmp_path):
    experiment, checked = declare(Tune(RATE, RATES)), list[set[Point]]()

    def fits(runs):
        checked.append({run.point for run in runs})
        return True

    train = Landscape(tmp_path, hill({"none": 0.1, "relu": 100.0, "elu": 100.0}))
    experiment, _, _ = tuned(tmp_path, experiment, train, fits=fits)
    assert checked == [{(0.8,)}, {(1.6,)}]  # nothing beyond the last extension
    first = plan_runs(experiment, {})[0]
    run_directory.claim(tmp_path / first.directory, first.config)
    run_directory.update_run(tmp_path / first.directory, status="running")
    arms = {**experiment.arms, "elu": {"model.intermediate_activation": "elu"}}
    tuned(tmp_path, replace(experiment, arms=arms), train, fits=fits)
    assert checked[2:] == []  # nor of an arm that tries what the others have tried


def test_a_line_names_the_arms_whose_best_values_lie_at_an_edge_once(tmp_path):
    def value(arm: str, rate: float, decay: float, seed: int) -> float:
        return {"none": rate + 10 * decay, "relu": 10 * decay - abs(rate - 0.1)}[arm]

    tune = Tune((RATE, DECAY), ((0.05, 0.1, 0.2), (1e-5, 1e-4, 1e-3)), seeds=1)
    _, _, said = tuned(tmp_path, declare(tune), Landscape(tmp_path, value))
    tried_too = "all arms also try learning_rate=0.4, weight_decay=0.01"
    assert said[0] == f"tuning: the best of none, relu lies at the edge; {tried_too}"


def test_both_edges_are_extended_in_one_step(tmp_path):
    train = Landscape(tmp_path, hill({"none": 0.0125, "relu": 0.8}))
    _, record, _ = tuned(tmp_path, declare(Tune(RATE, RATES)), train)
    # The best of each lies at its new edge, which is extended once more and turns out not better.
    assert train.calls == [20, 8, 8]
    assert tried(record, "none") == [(0.00625,), (0.0125,), *((r,) for r in RATES), (0.8,), (1.6,)]
    assert [record["arms"][arm]["chosen"][RATE] for arm in ("none", "relu")] == [0.0125, 0.8]
    assert all(not entry["at_edge"] for entry in record["arms"].values())


def test_two_settings_are_a_grid(tmp_path):
    def value(arm: str, rate: float, decay: float, seed: int) -> float:
        peak = {"none": (0.2, 1e-4), "relu": (0.1, 0.0)}[arm]
        return 0.9 - abs(np.log2(rate / peak[0])) / 10 - abs(decay - peak[1]) * 100

    rates, decays = (0.05, 0.1, 0.2, 0.4), (0.0, 1e-5, 1e-4, 1e-3)
    tune = Tune((RATE, DECAY), (rates, decays), seeds=1)
    experiment, record, _ = tuned(tmp_path, declare(tune), Landscape(tmp_path, value))
    assert tried(record, "none") == sorted(itertools.product(rates, decays))
    for arm, chosen in (("none", {RATE: 0.2, DECAY: 1e-4}), ("relu", {RATE: 0.1, DECAY: 0.0})):
        assert {**experiment.arms[arm], **chosen} == experiment.arms[arm]
    # Nothing lies below zero: that is the end of the setting, not of the grid.
    assert record["arms"]["relu"]["at_edge"] == {}


def test_what_a_setting_cannot_be_is_not_tried(tmp_path):
    tune = Tune("optimizer.momentum", (0.3, 0.6, 0.9), seeds=1)
    train = Landscape(tmp_path, lambda arm, momentum, seed: momentum)
    _, record, _ = tuned(tmp_path, declare(tune), train)
    assert train.calls == [6]  # 1.2 is no momentum, but there are others above 0.9
    assert record["arms"]["none"]["at_edge"] == {"optimizer.momentum": "upper"}
    tune, other = Tune("train.batch_size", (16, 32), seeds=1), tmp_path / "other"
    other.mkdir()
    train = Landscape(other, lambda arm, size, seed: size / 100)
    _, record, _ = tuned(other, declare(tune), train, fits=lambda runs: False)
    assert train.calls == [4]
    assert record["arms"]["none"]["at_edge"] == {"train.batch_size": "upper"}


def test_a_run_that_diverges_counts_as_chance(tmp_path):
    def value(arm: str, rate: float, seed: int) -> float | None:
        if rate == 0.4:
            return 0.95 if seed == 2_000_000_000 else None
        return 0.55 if rate == 0.2 else 0.4

    _, record, _ = tuned(tmp_path, declare(Tune(RATE, RATES)), Landscape(tmp_path, value))
    rows = [row for row in record["runs"] if row["values"] == [0.4] and row["arm"] == "none"]
    assert [(row["status"], row["score"]) for row in rows] == [("done", 0.95), ("diverged", 0.1)]
    assert record["arms"]["none"]["chosen"] == {RATE: 0.2}  # 0.55 against (0.95 + 0.1) / 2
    assert score({"status": "diverged", "metric": "map100", "classes": 10}) == 0.0


def test_a_run_that_saw_the_test_split_is_refused():
    result = {"split": "test", "top1": 0.9}
    with pytest.raises(InputError, match="was evaluated on 'test'"):
        score({"status": "done", "metric": "top1", "result": result, "name": "a-0.1-s2"})
