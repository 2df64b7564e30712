"""`evaluate` of a run's checkpoint, against what training recorded."""

import json
from pathlib import Path

from tests.shrunk import CONFIG, SHRUNK, SOONEST


def test_evaluate_measures_what_training_measured(call, tmp_path: Path):
    home = str(tmp_path / "run")
    assert call("train", CONFIG, "--workdir", home, *SHRUNK, *SOONEST)[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    code, out, err = call("evaluate", home, "--split", "valid", "--json")
    assert (code, err) == (0, "")
    measured, logged = json.loads(out), rows[-1]
    assert measured["step"] == logged["step"]
    assert {name: measured[name] for name in ("loss", "top1", "top5")} == {
        name: logged[name] for name in ("loss", "top1", "top5")
    }
    code, _, err = call("evaluate", home, "--step", "999")
    assert code == 2
    assert "no such checkpoint" in err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["data"]["splits"]["valid"]["images"] = "0" * 64  # of a set that has changed since
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    code, _, err = call("evaluate", home, "--split", "valid")
    assert code == 2
    assert "the valid split is not the one that the run began with" in err


def test_a_number_that_is_not_finite_is_null_in_json(call, tmp_path: Path, monkeypatch):
    result = {"step": 3, "split": "test", "examples": 7, "loss": float("inf"), "top1": 0.5}
    monkeypatch.setattr("xception_jax.commands.evaluate._evaluate", lambda *_: result)
    code, out, _ = call("evaluate", tmp_path, "--json")
    assert code == 0
    assert json.loads(out) == result | {"loss": None}
