"""The progress of runs, read from logs that other processes write and somebody may have written."""

import json
import os
from types import SimpleNamespace
from typing import Any

import pytest

from xception_jax.commands.display import describe
from xception_jax.launchers import Unit
from xception_jax.launchers.launching import _ProgressMonitor

ROW = {"step": 30, "epoch": 1.5, "split": "valid", "loss": 1.0, "top1": 0.25}


def planned_run(number: int) -> Any:
    config = SimpleNamespace(train=SimpleNamespace(batch_size=8))
    run = {"arm": "relu", "title": "relu", "seed": number, "directory": f"run-{number}"}
    return SimpleNamespace(**run, config=config)


@pytest.fixture
def follow(tmp_path):
    """A function that writes the logs of runs, and returns their progress and what was said."""

    def progress(*logs: bytes) -> tuple[Any, list[str]]:
        runs: list[Any] = []
        for number, log in enumerate(logs):
            runs.append(run := planned_run(number))
            (tmp_path / run.directory).mkdir()
            (tmp_path / run.directory / "metrics.jsonl").write_bytes(log)
        return watch(runs)

    def watch(runs: list[Any]) -> tuple[Any, list[str]]:
        directories = tuple(tmp_path / run.directory for run in runs)
        unit = Unit(0, "relu-s0", directories, ("true",), tmp_path / "0.log")
        events: list[Any] = []
        said: list[str] = []
        monitor = _ProgressMonitor(
            tmp_path, runs, {"relu": 60}, [unit], listener=events.append, warn=said.append
        )
        for _ in range(2):
            monitor._next_poll = 0.0
            monitor([unit])
        assert describe(events[-1], None)
        return events[-1], said

    return progress


def test_a_record_that_is_damaged_while_its_run_trains_ends_nothing(tmp_path):
    runs: list[Any] = [planned_run(number) for number in range(2)]
    units = [Unit(n, run.directory, (tmp_path / run.directory,), ("true",), tmp_path / "log")
             for n, run in enumerate(runs)]  # fmt: skip
    for run in runs:
        (tmp_path / run.directory).mkdir()
    events: list[Any] = []
    monitor = _ProgressMonitor(
        tmp_path, runs, {"relu": 60}, units, listener=events.append, warn=print
    )
    monitor(units)
    (tmp_path / "run-0" / "run.json").write_text('{"status": "runn')
    (tmp_path / "run-1" / "run.json").write_text('{"status": "diverged"}')
    monitor([])
    assert [event.numbers for event in events if event.ended] == [(2,)]


def line(**changes: Any) -> bytes:
    return json.dumps(ROW | changes).encode() + b"\n"


MALFORMED = {
    "text for a step": line(step="fast"),
    "a part of a step": line(step=31.5),
    "a step without end": line(step=10**400),
    "a step below zero": line(step=-1),
    "text for an epoch": line(epoch="1.5"),
    "no epoch": line(epoch=None),
    "an epoch that is no number": line(epoch=float("nan")),
    "an unknown split": line(split=["valid"]),
    "a list for a loss": line(loss=[[1]]),
    "a list": b"[1, 2]\n",
    "a word": b"nonsense\n",
    "nesting": b"[" * 1500 + b"\n",
    "half of a row": line()[:20] + b"\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_row_that_is_none_is_named_once_and_passed_over(follow, name):
    event, said = follow(line() + MALFORMED[name])
    assert (event.progress.step, event.progress.epoch) == (30, 1.5)
    assert event.progress.row == {"split": "valid", "top1": 0.25}
    (only,) = said
    assert "run-0/metrics.jsonl has a row that is passed over" in only


@pytest.mark.parametrize("value", ["fast", True, None, float("inf"), 10**400])
def test_a_metric_that_is_no_number_is_left_out(follow, value):
    event, said = follow(line(), line(top1=value))
    assert (event.progress.step, event.progress.row, said) == (30, None, [])


def test_no_run_is_further_than_its_last_step(follow):
    event, said = follow(line(step=10**12))
    assert (event.progress.step, event.steps_left, said) == (60, 0, [])


def test_a_row_that_is_being_written_is_waited_for(follow):
    event, said = follow(line() * 20 + line(step=40)[:-5])
    assert (event.progress.step, said) == (30, [])


def test_a_log_of_malformed_rows_alone_is_one_that_has_not_begun(follow):
    event, said = follow(MALFORMED["a word"] * 1000)
    assert (event.progress.phase, len(said)) == ("compile", 1)


def test_a_pipe_for_a_log_is_not_waited_for(follow, tmp_path, monkeypatch):
    def write(path, _):
        os.mkfifo(path)

    monkeypatch.setattr("pathlib.Path.write_bytes", write)
    event, said = follow(b"")
    assert event.progress.phase == "compile"
    assert said == [f"{tmp_path}/run-0/metrics.jsonl cannot be read: is not a regular file"]
