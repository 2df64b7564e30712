"""A sweep's directory handed over by somebody who means harm, where it is trained and not read."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fuzzing import ANYTHING, paths, put
from tests.shrunk import EXPERIMENT, SHRUNK
from xception_jax.checksums import with_checksum
from xception_jax.errors import InputError
from xception_jax.records import RUN, SWEEP, TUNING
from xception_jax.report.reading import read_directory
from xception_jax.runtime.device_time import reopened
from xception_jax.runtime.run_directory import read_run
from xception_jax.sweep.declarations import Known, read_known
from xception_jax.sweep.experiment import plan_runs
from xception_jax.sweep.ledger import read_ledger, read_ledger_to_resume, write_ledger
from xception_jax.sweep.loading import load_experiment
from xception_jax.sweep.local import run_unit
from xception_jax.sweep.recorded import plan_from_file
from xception_jax.sweep.tuning_runs import is_tuning, score

FIELDS = ("packs", "declarations", "post_hoc_claims")
OF_EXPERIMENT = ("seeds", "claims", "looks")


@pytest.mark.parametrize("field", [*FIELDS, *(f"experiment.{name}" for name in OF_EXPERIMENT)])
@pytest.mark.parametrize("value", [5, "zzz", {"a": 1}, [[1]], ["x"], None])
def test_a_record_whose_fields_hold_something_else_is_refused(finished_sweep, field, value):
    path = finished_sweep.directory / SWEEP
    record = json.loads(path.read_text())
    *above, name = field.split(".")
    (record[above[0]] if above else record)[name] = value
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"by its {name}"):
        read_ledger_to_resume(path)
    read_ledger(path)  # what `status` shows is there


@pytest.mark.parametrize("pack", [{}, {"size": "many", "runs": []}, {"size": 2, "runs": 7}])
def test_a_pack_that_is_none_is_refused(finished_sweep, pack: dict[str, Any]):
    path = finished_sweep.directory / SWEEP
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"packs": [pack]}))
    with pytest.raises(InputError, match="by its packs"):
        read_ledger_to_resume(path)


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "", 5])
def test_a_pack_outside_of_the_sweep_is_refused(finished_sweep, name):
    path = finished_sweep.directory / SWEEP
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"packs": [{"size": 2, "runs": [name]}]}))
    with pytest.raises(InputError, match="outside of the sweep"):
        read_ledger_to_resume(path)


def test_what_is_known_of_runs_waits_for_no_pipe(tmp_path):
    """Pipes, devices and endless nesting are runs that have begun, of which nothing is known."""
    homes = [tmp_path / "runs" / name for name in ("pipe", "device", "deep", "planned")]
    for home in homes:
        home.mkdir(parents=True)
    os.mkfifo(homes[0] / RUN)
    (homes[1] / RUN).symlink_to("/dev/zero")
    (homes[2] / RUN).write_text("[" * 10**6)
    (homes[3] / RUN).write_text('{"status": "planned"}')
    assert read_known(tmp_path) == Known(begun=3, results=0, reported=False)
    (tmp_path / "report").mkdir()
    os.mkfifo(tmp_path / "report" / "curves.csv")
    assert read_known(tmp_path).reported


@pytest.mark.parametrize("record", [{"status": "running"}, {"status": "failed", "seed": "zzz"}])
def test_a_run_that_does_not_say_its_seed_is_shown(call, tmp_path, record):
    (tmp_path / RUN).write_text(json.dumps(record))
    code, said, err = call("status", tmp_path)
    assert (code, err) == (0, "")
    assert "seed" in said


@pytest.mark.parametrize(
    "changes", [{"top1": "fast"}, {"top1": 1e400}, {"split": 3}, {"loss": None}]
)
def test_a_result_that_is_none_does_not_say_how_the_run_stands(tmp_path, changes):
    result = {"split": "test", "examples": 5, "loss": 1.0, "top1": 0.5, "top5": 1}
    path = tmp_path / RUN
    path.write_text(json.dumps({"status": "done", "result": result}))
    assert read_run(tmp_path)["result"] == result
    path.write_text(json.dumps({"status": "done", "result": result | changes}))
    with pytest.raises(InputError, match="does not say how the run stands"):
        read_run(tmp_path)


@pytest.mark.parametrize("segments", [5, "fast", {"from": 0}, [3, None], None])
def test_segments_that_are_none_are_left_out(segments):
    assert reopened(segments, b"") == []


ROW = {
    "arm": "relu",
    "seed": 2,
    "settings": {"optimizer.learning_rate": 0.1},
    "values": [0.1],
    "id": "a" * 64,
    "directory": "tuning/relu-0.1-s2-aaaaaaaa",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"optimizer.learning_rate": "fast"}},
        {"settings": {"a": 10**400}},
        *({"values": [value]} for value in ("fast", None, [1], True)),
    ],
)
def test_tuned_settings_that_are_no_numbers_are_refused(finished_sweep, call, changes):
    path = finished_sweep.directory / TUNING
    path.write_text(json.dumps({"runs": [ROW]}))
    assert call("status", finished_sweep.directory)[0] == 0
    path.write_text(json.dumps({"runs": [ROW | changes]}))
    code, _, err = call("status", finished_sweep.directory)
    assert code == 2
    assert "is not the record of a tuning" in err


@pytest.mark.parametrize(
    "record",
    [
        {"status": "diverged"},
        {"status": "diverged", "classes": 0},
        {"status": "diverged", "classes": "ten"},
        {"status": "done", "metric": "zzz", "result": {"split": "valid", "top1": 0.5}},
        {"status": "done", "metric": ["top1"], "result": {"split": "valid", "top1": 0.5}},
        {"status": "done", "result": {"split": "valid", "top1": "fast"}},
    ],
)
def test_a_tuning_run_that_does_not_say_how_well_it_did_is_named(record):
    with pytest.raises(InputError, match=r"relu-0\.1-s2.*does not say how well it did"):
        score({"name": "relu-0.1-s2", **record})


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "\u202e"])
def test_files_that_no_system_has_are_damage(finished_sweep, call, name):
    path = finished_sweep.run_directory("relu", 1) / RUN
    record = with_checksum(json.loads(path.read_text()) | {"files": {name: "0" * 64}})
    path.write_text(json.dumps(record))
    sweep = read_directory(finished_sweep.directory)
    (note,) = (note for note in sweep.notes if "the run is not used" in note)
    assert note.isprintable()
    assert call("status", finished_sweep.directory)[0] == 0


@pytest.mark.parametrize("depth", [100, 900, 960, 980])
def test_nesting_that_python_reads_and_cannot_show_is_damage(finished_sweep, call, depth):
    path = finished_sweep.run_directory("relu", 1) / RUN
    nested = "[" * depth + "]" * depth
    path.write_text(path.read_text().rstrip()[:-1] + f', "reason": {nested}}}')
    with pytest.raises(InputError, match=r"nested more than 64 deep|recursion"):
        read_run(path.parent)
    assert call("status", finished_sweep.directory)[0] == 0
    sweep = read_directory(finished_sweep.directory)
    assert [run.status for run in sweep.runs if (run.arm, run.seed) == ("relu", 1)] == [
        "unreadable"
    ]


@pytest.mark.parametrize("runs", [[], ["runs/none-s7"], ["tuning/none-s7"]])
def test_a_unit_of_runs_that_are_not_recorded_is_refused(tmp_path, runs):
    write_record(tmp_path)
    content = json.loads((tmp_path / SWEEP).read_text())
    content["packs"] = [{"size": None, "runs": runs}]
    (tmp_path / SWEEP).write_text(json.dumps(content))
    ignored: dict[str, Any] = {"listener": print, "stop": bool, "warn": print}
    with pytest.raises(InputError, match="not recorded"):
        run_unit(tmp_path, 0, **ignored)


TUNED: dict[str, Any] = {
    "arms": {"relu": {"chosen": {"optimizer.learning_rate": 0.1}}},
    "grid": [[0.1, 0.2]],
    "runs": [ROW],
}


@pytest.mark.parametrize("name", TUNED)
def test_what_was_tuned_is_recorded_as_it_should_be_or_refused(tmp_path, name):
    write_record(tmp_path)
    path = tmp_path / SWEEP
    content = json.loads(path.read_text())
    for value in [5, "zzz", [5], ["zzz"], {"relu": 5}, {"relu": {"chosen": {"a": "x"}}}, None]:
        assert is_tuning(TUNED)
        assert not is_tuning(TUNED | {name: value})
        content["experiment"]["tuned"] = TUNED | {name: value}
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match="is not recorded as it should be"):
            plan_from_file(path, seeds=None, overrides=())


def write_record(directory: Path) -> None:
    """The record of a sweep of which nothing is trained."""
    experiment, base = load_experiment(EXPERIMENT, overrides=SHRUNK)
    experiment = replace(experiment, seeds=1)
    write_ledger(directory, experiment, base, plan_runs(experiment, base), "sweep")


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_record_that_somebody_made_is_loaded_or_refused(tmp_path, rng, count):
    """What `plan` and `sweep` go on from; see `test_any_field_may_hold_anything`."""
    write_record(tmp_path)
    path = tmp_path / SWEEP
    original = path.read_text()
    every = list(paths(json.loads(original)))
    for _ in range(count):
        content, place = json.loads(original), every[rng.integers(len(every))]
        value = ANYTHING[rng.integers(len(ANYTHING))]
        put(content, place, value)
        path.write_text(json.dumps(content))
        try:
            experiment, _, _ = plan_from_file(path, seeds=None, overrides=())
        except InputError as error:
            assert "\n" not in str(error)
        except Exception as error:
            raise AssertionError(f"{place} holds {value!r}") from error
        else:
            assert json.dumps(experiment.describe()), (place, value)
