"""Sweeps and runs trained again from the plain data that an earlier one left."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.programs import Call
from tests.shrunk import CONFIG
from tests.untrained_study import Study
from xception_jax.config import resolve
from xception_jax.planning.budget import TOLERANCE, arm_cost
from xception_jax.sweep import Experiment, load_experiment, plan_runs
from xception_jax.sweep.ledger import write_ledger
from xception_jax.sweep.recorded import load_recorded, plan_from_file

WORDS = ("--seeds", "1", "--packing", "off")
CURVES = ("metrics.jsonl", "pairing.json")


@pytest.fixture(scope="module")
def done(tmp_path_factory, call, experiment, shrunk_words) -> Path:
    home = tmp_path_factory.mktemp("sweep") / "first"
    code, _, err = call("sweep", experiment, "--workdir", home, *WORDS, *shrunk_words)
    assert (code, err) == (0, "")
    return home


@pytest.mark.slow
def test_a_sweep_is_trained_again_from_its_record_alone(done, call, tmp_path):
    """The copied record lies where no experiment file is found."""
    record = shutil.copy(done / "sweep.json", tmp_path / "sweep.json")
    home = tmp_path / "again"
    code, out, err = call("sweep", record, "--workdir", home, "--packing", "off")
    assert (code, err) == (0, "")
    assert "3 arms x 1 seeds = 3 runs" in out
    for first in (done / "runs").iterdir():
        for name in CURVES:
            assert (home / "runs" / first.name / name).read_bytes() == (first / name).read_bytes()
    kept = ("experiment", "claims_sha256", "base", "runs")
    one, other = (json.loads((place / "sweep.json").read_text()) for place in (done, home))
    assert {name: one[name] for name in kept} == {name: other[name] for name in kept}
    assert call("sweep", home / "sweep.json", "--workdir", home)[0] == 0  # nothing is left to do


@pytest.mark.usefixtures("undrawn_figures")
@pytest.mark.slow
def test_a_sweep_is_trained_again_from_the_record_in_its_archive(done, call, tmp_path):
    archive, home = tmp_path / "archive", tmp_path / "again"
    assert call("report", done, "--archive", archive)[0] == 0
    before = {path.name: path.read_bytes() for path in archive.iterdir()}
    code, _, err = call("sweep", archive / "sweep.json", "--workdir", archive, "--packing", "off")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "is trained" in err
    assert {path.name: path.read_bytes() for path in archive.iterdir()} == before
    code, _, err = call("sweep", archive / "sweep.json", "--workdir", home, "--packing", "off")
    assert (code, err) == (0, "")
    assert "archived" not in json.loads((home / "sweep.json").read_text())
    for first in (done / "runs").iterdir():
        for name in CURVES:
            assert (home / "runs" / first.name / name).read_bytes() == (first / name).read_bytes()


def test_a_run_is_trained_again_from_its_config_alone(done, call, tmp_path):
    (first,) = done.glob("runs/relu-s0-*")
    code, _, err = call("train", first / "config.json", "--workdir", tmp_path / "run")
    assert (code, err) == (0, "")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (
        first / "metrics.jsonl"
    ).read_bytes()
    ids = [json.loads((p / "run.json").read_text())["id"] for p in (first, tmp_path / "run")]
    assert ids[0] == ids[1]


def test_a_record_takes_seeds_and_overrides(done, shrunk_words, experiment):
    path = done / "sweep.json"
    more = plan_from_file(path, seeds=3, overrides=())[2]
    planned = plan_runs(*load_experiment(experiment, overrides=shrunk_words))
    assert [run.id for run in more] == [run.id for run in planned if run.seed < 3]
    longer = plan_from_file(path, seeds=None, overrides=["train.epochs=5"])[2]
    assert [(run.name, run.config.train.epochs) for run in longer] == [
        ("none-s0", 5.0), ("relu-s0", 5.0), ("elu-s0", 5.0)
    ]  # fmt: skip


def test_a_record_keeps_its_widths_unless_a_word_changes_what_its_arms_cost(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(call, tmp_path, monkeypatch)
    study.finals = {"xception": 0.8, "inception": 0.7}
    # Their costs differ by 0.9%: a search for widths would come closer.
    arms: dict[str, dict[str, Any]] = {
        "xception": {"model.name": "xception_tiny"},
        "inception": {"model.width": 1.0},
    }
    experiment = Experiment("models", "so", "b.py", arms, seeds=2, equal="parameters")
    data = {"data.name": "digits", "data.image_size": 8, "data.train_examples": 96}
    base = resolve(data, {"model.name": "inception_tiny"})
    runs = plan_runs(experiment, base)[:3]  # as another version left them
    write_ledger(tmp_path, experiment, base, runs, "sweep")
    for number, changes in enumerate(((), ("wandb.mode=disabled",), ("model.kernel_size=5",))):
        study.home = tmp_path / str(number)
        words = ("--workdir", study.home, "--packing", "off", *changes)
        code, _, err = call("sweep", tmp_path / "sweep.json", *words)
        assert (code, err) == (0, "")
        content = study.record()
        if changes != ("model.kernel_size=5",):
            assert content["experiment"]["arms"] == arms
            assert [row["id"] for row in content["runs"]] == [run.id for run in runs]
    assert content["experiment"]["arms"]["inception"]["model.width"] > 1.02
    names = [(row["arm"], row["seed"]) for row in content["runs"]]
    assert names == [(run.arm, run.seed) for run in runs]
    loaded = load_recorded(study.home / "sweep.json")
    costs = [arm_cost(loaded.run(row).config).parameters for row in loaded.rows]
    assert costs[1] == pytest.approx(costs[0], rel=TOLERANCE)


def test_numbers_of_numpy_are_recorded_as_those_of_python(tmp_path: Path) -> None:
    arms = {
        "integers": {"model.kernel_size": np.int64(5), "model.fully_connected": [np.int32(8)]},
        "floats": {"optimizer.learning_rate": np.float32(0.1), "model.width": np.float64(0.5)},
    }
    experiment, base = Experiment("numbers", "", "b.py", arms, seeds=2), resolve({})
    runs = plan_runs(experiment, base)
    write_ledger(tmp_path, experiment, base, runs, "sweep")
    recorded = load_recorded(tmp_path / "sweep.json")
    assert recorded.experiment.arms == {
        "integers": {"model.kernel_size": 5, "model.fully_connected": [8]},
        "floats": {"optimizer.learning_rate": float(np.float32(0.1)), "model.width": 0.5},
    }
    assert [recorded.run(row).config for row in recorded.rows] == [run.config for run in runs]
    assert write_ledger(tmp_path, experiment, base, runs, "sweep") == []  # it goes on


def test_claims_come_back_as_they_were(experiment, done):
    assert load_recorded(done / "sweep.json").experiment.claims == load_experiment(
        experiment
    )[0].claims  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["base"]["model"].update(width=0.5), "is not the id of the settings of none"),
        (lambda c: c["base"].pop("model"), "is not the id of the settings of none-s0"),
        (lambda c: c["base"]["model"].update(widht=0.5), "'model.width'"),
        (lambda c: c["experiment"]["arms"].pop("relu"), "claim='relu'"),
        (lambda c: c["runs"][0].update(arm="rel"), "arm='rel': has no settings"),
        (lambda c: c.pop("base"), "does not hold the settings of its runs"),
        (lambda c: c["experiment"].update(seeds=[]), "does not describe an experiment"),
        (lambda c: c["experiment"].update(claims=[{"arm": "none"}]), "baseline"),
        (lambda c: c["experiment"].update(more=1), "unexpected keyword argument 'more'"),
        (lambda c: c.pop("runs"), "is not the record of a sweep"),
    ],
)
def test_a_damaged_record_is_one_line(done, call, tmp_path, change, message):
    content = json.loads((done / "sweep.json").read_text())
    change(content)
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    code, out, err = call("sweep", tmp_path / "sweep.json", "--workdir", tmp_path / "w")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err
    assert not (tmp_path / "w").exists()


def test_python_in_a_json_file_is_not_run(call, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(CONFIG.read_text() + f"\nopen({str(tmp_path / 'ran')!r}, 'w')\n")
    for command in ("train", "sweep"):
        code, _, err = call(command, path, "--workdir", tmp_path / "w")
        assert (code, "cannot be read" in err) == (2, True)
    assert not (tmp_path / "ran").exists()
