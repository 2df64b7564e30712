"""A sweep's directory handed over by somebody who means harm, where it is trained and not read."""

import json
import os
from typing import Any

import pytest

from xception_jax.errors import InputError
from xception_jax.records import RUN, SWEEP
from xception_jax.runtime.device_time import reopened
from xception_jax.runtime.run_directory import read_run
from xception_jax.sweep.declarations import Known, read_known
from xception_jax.sweep.ledger import read_ledger, read_whole_ledger

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
        read_whole_ledger(path)
    read_ledger(path)  # what `status` shows is there


@pytest.mark.parametrize("pack", [{}, {"size": "many", "runs": []}, {"size": 2, "runs": 7}])
def test_a_pack_that_is_none_is_refused(finished_sweep, pack: dict[str, Any]):
    path = finished_sweep.directory / SWEEP
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"packs": [pack]}))
    with pytest.raises(InputError, match="by its packs"):
        read_whole_ledger(path)


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "", 5])
def test_a_pack_outside_of_the_sweep_is_refused(finished_sweep, name):
    path = finished_sweep.directory / SWEEP
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"packs": [{"size": 2, "runs": [name]}]}))
    with pytest.raises(InputError, match="outside of the sweep"):
        read_whole_ledger(path)


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


@pytest.mark.parametrize("changes", [{"top1": "fast"}, {"split": 3}, {"loss": None}])
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
