"""The compute that runs record: measured whatever becomes of them, and shared within a pack."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.interrupting import stop_after
from xception_jax.runtime.device_time import DeviceMeter, measured, reopened
from xception_jax.statistics.compute import spent_by
from xception_jax.training import Interrupted


def record(home: Path) -> dict:
    return json.loads((home / "run.json").read_text())


def test_the_shares_of_runs_add_up_to_the_time_of_the_devices(rng: np.random.Generator) -> None:
    """Random times at which runs end, against a sum over the intervals between them."""
    for _ in range(50):
        runs, devices = int(rng.integers(1, 6)), int(rng.integers(1, 9))
        ends = np.sort(rng.uniform(0, 100, runs))
        now = [0.0]
        meter = DeviceMeter(devices, runs, clock=partial(now.__getitem__, 0))
        shares = []
        for end in ends:
            now[0] = rng.uniform(now[0], end)
            meter.share()  # a look in between changes nothing
            now[0] = end
            shares.append(meter.leave())
        intervals = np.diff([0.0, *ends])
        expected = np.cumsum(intervals * devices / np.arange(runs, 0, -1))
        # Sums of at most six numbers in float64, 1e-16 each.
        np.testing.assert_allclose(shares, expected, rtol=1e-12)
        assert sum(shares) == pytest.approx(devices * ends[-1])


def test_a_process_that_was_killed_is_closed_at_the_last_row_of_the_log() -> None:
    log = b'{"step": 40, "split": "train"}\n{"step": 50, "split": "valid"}\n'
    begun = measured([{"from": 0}], 40, 2.0)
    assert reopened(begun, log) == [
        {"from": 0, "to": 40, "device_seconds": 2.0, "reached": 50, "end": "killed"}
    ]
    ended = measured([{"from": 0}], 40, 2.0, "interrupted")
    assert reopened(ended, log) == ended
    assert reopened(None, log) == []
    assert reopened([{"from": 0}], b"") == [{"from": 0, "reached": 0, "end": "killed"}]


def test_a_run_records_what_each_process_took(run, tmp_path: Path) -> None:
    for count in (3, 2):
        with pytest.raises(Interrupted):
            run(tmp_path, stop=stop_after(count))
    run(tmp_path)
    segments = record(tmp_path)["segments"]
    spans = [(segment["from"], segment["to"], segment["end"]) for segment in segments]
    assert spans == [(0, 3, "interrupted"), (3, 5, "interrupted"), (5, 9, "done")]
    seconds = [segment["device_seconds"] for segment in segments]
    assert min(seconds) >= 0
    spent = spent_by(record(tmp_path))
    assert spent is not None
    assert spent.kept == pytest.approx(sum(seconds))
    assert spent.lost == 0
    assert spent.is_whole


def test_a_run_that_fails_records_what_it_took(run, tmp_path: Path) -> None:
    def break_down(progress) -> None:
        if progress.step >= 4:
            raise RuntimeError("broken on purpose")

    with pytest.raises(RuntimeError):
        run(tmp_path, listener=break_down)
    (segment,) = record(tmp_path)["segments"]
    assert segment["end"] == record(tmp_path)["status"] == "failed"
    assert segment["to"] >= 4
    run(tmp_path)
    assert record(tmp_path)["segments"][1]["end"] == "done"
