"""Costs of arms, and widths that make them equal."""

import json
from math import prod
from pathlib import Path

import pytest

from tests.shrunk import CONFIG, ROOT
from xception_jax.config import load_config, resolve
from xception_jax.errors import InputError
from xception_jax.models import model_function
from xception_jax.planning import budget
from xception_jax.planning.budget import TOLERANCE, arm_cost, equalize
from xception_jax.sweep import Experiment, load_experiment, plan_runs

IMAGENET = ROOT / "configs" / "imagenet.py"
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))
BASE = {"data.name": "digits", "data.image_size": 8, "model.name": "xception_tiny"}


def parameters(name: str, **settings) -> int:
    function = model_function(name, num_classes=10, in_channels=1, **settings)
    return sum(prod(leaf.shape) for leaf in function.parameters)


def test_arms_get_the_width_of_equal_parameters():
    arms = {"deep": {"model.middle_modules": 4}, "shallow": {"model.middle_modules": 0}}
    experiment = Experiment("budget", "…", "base.py", arms, seeds=1, equal="parameters")
    equal = equalize(experiment, resolve(BASE))
    assert equal.arms["deep"] == arms["deep"]  # the first arm is the measure
    target = parameters("xception_tiny", middle_modules=4)
    width = equal.arms["shallow"]["model.width"]
    reached = parameters("xception_tiny", middle_modules=0, width=width)
    assert width > 1
    assert abs(reached / target - 1) <= TOLERANCE


def test_equal_multiply_adds():
    arms = {"with": {}, "without": {"model.middle_modules": 0}}
    experiment = Experiment("budget", "…", "base.py", arms, seeds=1, equal="macs")
    equal = equalize(experiment, resolve(BASE))
    costs = [arm_cost(resolve(BASE, settings)) for settings in equal.arms.values()]
    assert abs(costs[1].macs / costs[0].macs - 1) <= TOLERANCE


def test_widths_that_meet_the_budget_are_kept_where_they_may_be():
    """A record has such widths, unless words of the command line changed what its arms cost."""
    inception = parameters("inception_tiny")
    assert 0.005 < inception / parameters("xception_tiny") - 1 < TOLERANCE  # a search comes closer
    arms = {"xception": {}, "inception": {"model.name": "inception_tiny"}}
    experiment = Experiment("budget", "…", "base.py", arms, seeds=1, equal="parameters")
    assert equalize(experiment, resolve(BASE), keep=True).arms == arms
    assert equalize(experiment, resolve(BASE)).arms["inception"]["model.width"] < 1
    larger = equalize(experiment, resolve(BASE, {"model.kernel_size": 5}), keep=True)
    width = larger.arms["inception"]["model.width"]
    target = parameters("xception_tiny", kernel_size=5)
    assert target > inception * (1 + TOLERANCE)
    assert abs(parameters("inception_tiny", width=width) / target - 1) <= TOLERANCE


def test_the_plan_of_a_record_is_one_of_arms_that_are_equal_under_its_words(call, tmp_path: Path):
    arms = {"xception": {}, "inception": {"model.name": "inception_tiny"}}
    experiment = Experiment("budget", "…", "base.py", arms, seeds=1, equal="parameters")
    content = {"schema": 1, "experiment": experiment.describe(), "base": BASE, "runs": []}
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    for word, kept in (("wandb.mode=disabled", True), ("model.kernel_size=5", False)):
        code, out, _ = call("plan", tmp_path / "sweep.json", word)
        assert code == 0
        rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
        counts = [int(rows[arm][2].replace(",", "")) for arm in arms]
        assert counts[1] == pytest.approx(counts[0], rel=TOLERANCE)
        assert (counts[1] == parameters("inception_tiny")) == kept


def test_a_budget_that_cannot_be_met_is_said():
    arms = {"fine": {}, "coarse": {"model.segments": 16}}
    experiment = Experiment("budget", "…", "base.py", arms, seeds=1, equal="parameters")
    with pytest.raises(InputError, match=r"arm 'coarse' comes no closer than"):
        equalize(experiment, resolve(BASE))


def test_an_image_more_keeps_what_its_layers_need_and_no_parameters():
    narrow, wide = (arm_cost(resolve(BASE, {"model.width": width})) for width in (0.5, 1.0))
    # Activations grow with the features, parameters with their square.
    assert 1.7 < wide.activation_bytes / narrow.activation_bytes < 2.3
    assert wide.parameters / narrow.parameters > 3


def test_plan_lists_what_cannot_be_built_and_what_changes_nothing(call, tmp_path: Path):
    (tmp_path / "base.py").write_text(f"def get_config(): return {BASE!r}")
    arms = {
        "good": {"model.order": "pointwise_first"},
        "bad": {"model.segments": 7},
        "inert": {"model.name": "inception_tiny", "model.intermediate_activation": "relu"},
        "averaged": {"model.norm_momentum": 0.5},
        "moving": {"model.norm_momentum": 0.5, "train.average_decay": 0.0},
    }
    (tmp_path / "three.py").write_text(
        "from xception_jax.sweep import Experiment\n"
        f"def get_experiment(): return Experiment('three', '…', 'base.py', {arms!r}, 1)"
    )
    words = ("plan", str(tmp_path / "three.py"), "data.image_size=28")
    code, out, _ = call(*words)
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert f"{parameters('xception_tiny', order='pointwise_first'):,}" in lines["good"]
    assert "cannot be built: model.segments=7: must divide" in out
    assert "model.intermediate_activation changes nothing in this model" in out
    assert "averaged: model.norm_momentum changes nothing in this model" in out
    assert "is all of the run" not in out
    assert "moving: model.norm_momentum" not in out


def test_a_warm_up_as_long_as_the_run_is_pointed_out(call) -> None:
    code, out, _ = call("plan", CONFIG, "train.epochs=1", "optimizer.warmup_epochs=1")
    assert code == 0
    assert f"{CONFIG.stem}: optimizer.warmup_epochs=1 is all of the run" in out


def test_plan_of_the_papers_own_setting_needs_no_data(call, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    code, out, _ = call("plan", IMAGENET, "--modules")
    assert code == 0
    assert "22,855,952" in out
    assert "8.36 G" in out  # published: 8.4 G
    assert "middle/7/convolutions/2" in out


@pytest.mark.parametrize("is_prepared", [False, True])
def test_a_well_known_set_is_not_asked_for_what_it_has_not(is_prepared, monkeypatch, tmp_path):
    """Only that it is absent may be passed over: what its files do not have is bad input."""
    asked = {"data.train_examples": 1_000_000} if not is_prepared else {"data.image_key": "picture"}
    (field,) = asked

    def load_prepared(**source):
        raise InputError(field, asked[field], "it has no such thing")

    if is_prepared:
        monkeypatch.setattr(budget, "load", load_prepared)
    named = {"data.name": "cifar10", "data.directory": str(tmp_path)}
    with pytest.raises(InputError) as raised:
        budget.dataset_info(resolve(BASE, named | asked))
    assert (raised.value.field, raised.value.value) == (field, asked[field])


def test_of_an_absent_set_no_more_is_asked_than_is_left_to_train_on(tmp_path):
    absent = {"data.name": "cifar10", "data.directory": str(tmp_path), "data.image_size": 32}
    asked = resolve(absent, {"data.train_examples": 48_000})
    with pytest.raises(
        InputError, match=r"data\.train_examples=48000: more than the 45000"
    ) as error:
        budget.dataset_info(asked)
    assert error.value.nearest == 45_000
    for examples in (44_999, 45_000, None):
        config = resolve(absent, {"data.train_examples": examples})
        assert budget.dataset_info(config).examples == {
            "train": examples or 45_000, "valid": 5_000, "test": 10_000,
        }  # fmt: skip


def test_a_default_directory_out_of_reach_holds_no_data(monkeypatch):
    def load_out_of_reach(**source):
        raise InputError("data.directory", "/closed/data", "cannot be read: Permission denied")

    monkeypatch.setattr(budget, "load", load_out_of_reach)
    absent = resolve(BASE, {"data.name": "cifar100", "data.image_size": 20})
    assert budget.dataset_info(absent).examples["test"] == 10_000
    with pytest.raises(InputError, match=r"data\.directory"):
        budget.dataset_info(resolve(absent, {"data.directory": "/closed/data"}))


@pytest.mark.parametrize("default", ["gs://bucket/data", "hdfs://name/data", "~no_such_user/x"])
def test_a_default_directory_on_no_disk_of_this_machine_holds_no_data(default, monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", default)
    budget._read_info.cache_clear()
    absent = resolve(BASE, {"data.name": "cifar100", "data.image_size": 20})
    assert budget.dataset_info(absent).examples["test"] == 10_000


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_on_the_papers_base_an_experiment_asks_the_same_of_the_papers_models(path):
    described, base = load_experiment(path, base=IMAGENET)
    own, _ = load_experiment(path)
    assert (described.claims, [*described.arms]) == (own.claims, [*own.arms])
    assert described.base == "../configs/imagenet.py"
    for run in plan_runs(described, base):
        assert run.config.model.name in ("xception", "inception_v3", "alexnet")
        assert run.config.data.image_size == 299
        assert run.config.model.width == 1.0
        assert run.config.model.fully_connected in (None, (), (4096, 4096))


def test_arms_that_name_models_follow_the_models_name_of_the_command_line():
    (path,) = (path for path in EXPERIMENTS if path.stem == "fully_connected")
    runs = plan_runs(*load_experiment(path, overrides=["model.name=xception_small"]))
    assert {(run.config.model.name, *(run.config.model.fully_connected or ())) for run in runs} == {
        ("xception_small",), ("xception_small", 1536, 1536),
        ("inception_small",), ("inception_small", 1536, 1536),
    }  # fmt: skip
    with pytest.raises(InputError, match=r"model.name='alexnet' is none of xception, xception_sm"):
        load_experiment(path, overrides=["model.name=alexnet"])


def test_plan_on_the_papers_base_needs_no_data(call, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    path = ROOT / "experiments" / "inception_vs_xception.py"
    code, out, _ = call("plan", path, "--base", IMAGENET)
    assert code == 0
    assert "22,855,952" in out  # both as in Keras
    assert "23,817,352" in out


@pytest.mark.slow
def test_the_paper_model_is_the_budget_of_the_segments_on_its_base(call):
    code, out, _ = call("plan", ROOT / "experiments" / "segments.py", "--base", IMAGENET)
    assert code == 0
    (first, *others) = (line.split() for line in out.splitlines()[1:11])
    assert first[1:3] == ["1", "22,855,952"]
    counts = [int(count.replace(",", "")) for _, _, count, *_ in others]
    assert all(abs(count / 22_855_952 - 1) <= TOLERANCE for count in counts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("experiments/order.py", "configs/imagnet.py"), "'configs/imagenet.py'"),
        (("configs/imagenet.py", "configs/imagenet.py"), "goes with an experiment"),
    ],
)
def test_a_base_that_cannot_be_is_one_line(call, monkeypatch, words, message):
    monkeypatch.chdir(ROOT)
    file, base = words
    code, out, err = call("plan", file, "--base", base)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err


def test_an_experiment_that_returns_something_else_is_called_one(call, tmp_path: Path):
    path = tmp_path / "experiment.py"
    path.write_text("get_experiment = lambda: 3")
    code, out, err = call("plan", path)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "get_experiment() returns int, not Experiment" in err


@pytest.mark.slow
def test_a_record_is_planned_as_the_experiment_that_it_records(call, tmp_path):
    """Its arms have the widths that make them equal already."""
    record = ROOT / "docs" / "studies" / "segments_one_rate" / "sweep.json"
    code, out, _ = call("plan", record)
    assert code == 0
    _, of_experiment, _ = call("plan", ROOT / "experiments" / "segments.py")
    table, of_experiment = (words.splitlines()[:11] for words in (out, of_experiment))
    assert table == of_experiment
    assert table[-1].startswith("1-relu")
    (tmp_path / "config.json").write_text(json.dumps(resolve(load_config(CONFIG)).to_dict()))
    assert call("plan", tmp_path / "config.json")[0] == 0
    code, _, err = call("plan", record, "--base", CONFIG)
    assert code == 2
    assert "sweep.json holds the base of its runs" in err
