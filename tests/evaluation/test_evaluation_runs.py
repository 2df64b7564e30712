"""`evaluate` of a run's checkpoint, against what training recorded."""

import json
from pathlib import Path


def test_evaluate_measures_what_training_measured(call, tmp_path: Path):
    config = tmp_path / "config.py"
    settings = {
        "data.name": "digits", "data.image_size": 8, "model.name": "xception_tiny",
        "model.middle_modules": 0, "train.epochs": 1.0, "wandb.mode": "disabled",
    }  # fmt: skip
    config.write_text(f"def get_config(): return {settings!r}")
    home = str(tmp_path / "run")
    assert call("train", str(config), "--workdir", home)[0] == 0
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
