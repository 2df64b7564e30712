"""The record of a tuning: what goes on from it, elsewhere too, and how it is distrusted."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sweep.tuning_landscape import RATE, RATES, Landscape, declare, hill, tried, tuned
from xception_jax.checksums import with_checksum
from xception_jax.config import Config, resolve
from xception_jax.errors import InputError
from xception_jax.runtime import run_directory
from xception_jax.sweep import Experiment, Tune, plan_runs
from xception_jax.sweep.ledger import write_ledger
from xception_jax.sweep.recorded import load_recorded, plan_from_file
from xception_jax.sweep.statuses import read_statuses
from xception_jax.sweep.tuning import tune_arms, with_recorded_tuning


@pytest.fixture
def done(tmp_path) -> tuple[Path, Experiment, Config, Landscape]:
    """A tuned sweep, the experiment before it was tuned, its base, and what trained it."""
    train = Landscape(tmp_path, hill({"none": 0.05, "relu": 0.8}))
    experiment = declare(Tune(RATE, RATES))
    tuned(tmp_path, experiment, train)
    return tmp_path, experiment, resolve({}), train


def test_again_nothing_is_tuned(done):
    home, experiment, base, _ = done
    before = (home / "tuning.json").read_bytes()
    warned: list[str] = []
    again = with_recorded_tuning(home, experiment, base, warned.append)
    assert (again.untuned, warned) == ((), [])
    assert {arm: settings[RATE] for arm, settings in again.arms.items()} == {
        "none": 0.05, "relu": 0.8,
    }  # fmt: skip
    (home / "sweep.json").unlink()  # killed before it was written: tuning.json is enough
    assert with_recorded_tuning(home, experiment, base, warned.append).tuned == again.tuned
    assert (home / "tuning.json").read_bytes() == before


def test_a_choice_under_other_settings_is_no_choice(done):
    home, experiment, base, _ = done
    other = replace(base, optimizer=replace(base.optimizer, nesterov=True))
    assert with_recorded_tuning(home, experiment, other, print).untuned == ("none", "relu")
    other_tune = replace(experiment, tune=Tune(RATE, RATES, seeds=3))
    assert with_recorded_tuning(home, other_tune, base, print).untuned == ("none", "relu")
    with pytest.raises(InputError, match="what it tunes, or the values that it tries, are others"):
        write_ledger(home, other_tune, base, [], "sweep")
    with pytest.raises(InputError, match="what it tunes, or the values that it tries, are others"):
        write_ledger(home, replace(experiment, tune=None), base, [], "sweep")


def test_an_edited_record_decides_nothing_and_is_named(done):
    home, experiment, base, _ = done
    record = json.loads((home / "tuning.json").read_text())
    record["arms"]["none"]["chosen"][RATE] = 0.4
    for edited in (record, with_checksum(record)):
        (home / "tuning.json").write_text(json.dumps(edited))
        warned: list[str] = []
        again = with_recorded_tuning(home, experiment, base, warned.append)
        assert again.arms["none"][RATE] == 0.05
        assert warned == [
            "tuning.json was changed after it was written: sweep.json holds what was chosen"
        ]
        assert json.loads((home / "tuning.json").read_text()) == edited  # for the report to name
    record["complete"] = False
    (home / "tuning.json").write_text(json.dumps(record))
    (home / "sweep.json").unlink()
    warned = []
    assert with_recorded_tuning(home, experiment, base, warned.append).untuned == ("none", "relu")
    assert "the choice is made again" in warned[0]


def test_a_tuning_that_goes_on_beside_an_earlier_choice_was_not_changed(done):
    """A kill leaves such a record where an arm was added before any run of the verdict."""
    home, experiment, base, _ = done
    arms = {**experiment.arms, "elu": {"model.intermediate_activation": "elu"}}
    wider = with_recorded_tuning(home, replace(experiment, arms=arms), base, print)
    assert wider.untuned == ("elu",)

    def killed(runs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_arms(home, wider, base, killed)
    record = json.loads((home / "tuning.json").read_text())
    assert (record["complete"], record["arms"]) == (False, {})
    warned: list[str] = []
    again = with_recorded_tuning(home, experiment, base, warned.append)
    assert (again.untuned, warned) == ((), [])
    write_ledger(home, again, base, plan_runs(again, base), "sweep")
    assert json.loads((home / "tuning.json").read_text()) == again.tuned
    record["grid"][0].append(0.9)
    (home / "tuning.json").write_text(json.dumps(record))
    with_recorded_tuning(home, experiment, base, warned.append)
    assert warned == [
        "tuning.json was changed after it was written: sweep.json holds what was chosen"
    ]


def test_an_arm_that_is_added_after_the_runs_is_tuned_late_on_the_same_grid(done):
    home, experiment, base, train = done
    first = plan_runs(with_recorded_tuning(home, experiment, base, print), base)[0]
    run_directory.claim(home / first.directory, first.config)
    run_directory.update_run(home / first.directory, status="running")
    arms = {**experiment.arms, "elu": {"model.intermediate_activation": "elu"}}
    wider = with_recorded_tuning(home, replace(experiment, arms=arms), base, print)
    assert wider.untuned == ("elu",)
    train.value = hill({"elu": 100.0})
    before = len(train.calls)
    again, record, _ = tuned(home, wider, train)
    assert train.calls[before:] == [2 * 7]  # every value that the others have tried, once
    assert tried(record, "elu") == tried(record, "none")
    assert record["arms"]["elu"]["known"]["begun"] == 1
    assert record["arms"]["none"]["known"]["begun"] == 0
    assert record["arms"]["elu"]["at_edge"] == {RATE: "upper"}
    assert again.arms["none"][RATE] == 0.05


def test_a_record_carries_the_choice_to_another_directory(done, tmp_path):
    home, *_ = done
    recorded = load_recorded(home / "sweep.json")
    assert recorded.experiment.untuned == ()
    assert [recorded.run(row).id for row in recorded.rows] == [row["id"] for row in recorded.rows]
    experiment, settings, runs = plan_from_file(home / "sweep.json", seeds=None, overrides=())
    other = tmp_path / "other"
    other.mkdir()
    write_ledger(other, experiment, settings, runs, "sweep")
    assert (other / "tuning.json").read_bytes() == (home / "tuning.json").read_bytes()
    assert json.loads((other / "sweep.json").read_text())["tuned_elsewhere"] is True
    assert json.loads((home / "sweep.json").read_text())["tuned_elsewhere"] is False
    words = ["optimizer.nesterov=true"]  # what was chosen was so under other settings
    experiment, _, _ = plan_from_file(home / "sweep.json", seeds=None, overrides=words)
    assert experiment.untuned == ("none", "relu")
    with pytest.raises(InputError, match="is what the experiment tunes for each arm"):
        plan_from_file(home / "sweep.json", seeds=None, overrides=[f"{RATE}=0.1"])


def test_a_record_of_a_tuning_that_goes_on_is_loaded(tmp_path):
    experiment, base = declare(Tune(RATE, RATES)), resolve({})
    write_ledger(tmp_path, experiment, base, [], "sweep")

    def killed(runs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_arms(tmp_path, experiment, base, killed)
    loaded, _, runs = plan_from_file(tmp_path / "sweep.json", seeds=None, overrides=())
    assert loaded.untuned == ("none", "relu")
    assert len(runs) == 8
    assert len(read_statuses(tmp_path)) == 20
    assert {status.status for status in read_statuses(tmp_path)} == {"planned"}
