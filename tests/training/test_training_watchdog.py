"""Slow steps are reported, and a run that hangs is ended and resumes from its checkpoint."""

import json
from types import SimpleNamespace

import pytest

from tests.programs import run_program
from tests.same_run import assert_same_run
from tests.shrunk import CONFIG, SHRUNK, SOONEST
from xception_jax.runtime import stopwatch
from xception_jax.training import loop


@pytest.mark.slow
def test_a_stuck_run_is_recorded_and_goes_on_from_its_checkpoint(run, tmp_path):
    words = ("--workdir", tmp_path / "stuck", *SHRUNK, "train.stuck_after_seconds=4")
    done = run_program("hang_in_training", "train", CONFIG, *words, PYTHONUNBUFFERED="1")
    assert done.returncode == 70, done.stderr
    record = json.loads((tmp_path / "stuck" / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["reason"].startswith("stuck: nothing ended in ")
    assert record["reason"] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "hang_at_five" in (tmp_path / "stuck" / "failure.txt").read_text()
    run(tmp_path / "whole")
    ended = run(tmp_path / "stuck")
    assert ended["status"] == "done"
    assert ended["resumed_from"] == [4]
    assert_same_run(tmp_path / "whole", tmp_path / "stuck")


def test_a_step_of_twenty_times_the_median_is_slow(monkeypatch):
    now = iter([*range(12), 31, 32, 60])  # seconds at the end of each step
    clock = SimpleNamespace(perf_counter=lambda: float(next(now)))
    monkeypatch.setattr(stopwatch, "time", clock)
    watch = stopwatch.Stopwatch()
    slow = [watch.finished(32, 1) for _ in range(15)]
    assert slow == [None] * 12 + [20.0, None, 28.0]
    assert watch.slow == 2
    assert watch.usual() == 1


def test_a_run_says_that_a_step_was_slow(run, tmp_path, monkeypatch):
    ends = iter([0, 0, *range(12), 111, 112, 113, *range(212, 300)])  # of compiling, and of steps
    clock = SimpleNamespace(perf_counter=lambda: float(next(ends)))
    monkeypatch.setattr(stopwatch.Stopwatch, "pause", lambda self: None)
    for module in (loop, stopwatch):
        monkeypatch.setattr(module, "time", clock)
    said: list[str] = []
    words = ("train.epochs=20", "train.evaluate_every_epochs=20", "checkpoint.every_epochs=20")
    record = run(tmp_path, *words, *SOONEST, warn=said.append)
    assert said == ["step 13 took 100.0 s, and 1 s is usual"]
    assert record["slow_steps"] == 2
