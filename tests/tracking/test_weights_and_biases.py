"""Tests of the W&B mirror: it has the same rows as `metrics.jsonl` and never disturbs a run."""

import json
import math
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.offline_runs import read_offline_run
from tests.programs import program, start_program, stdout_of
from xception_jax.tracking import open_tracker, read_lines, read_metrics, weights_and_biases
from xception_jax.tracking.weights_and_biases import start_run, wandb_id

RUN_ID = "ab12" * 16
KEY = "5ec2e7" * 7  # as long as a real one
CLOSED_PORT = "http://127.0.0.1:9"


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def open_run(tmp_path, warnings):
    def open_run(directory=tmp_path, **settings):
        directory.mkdir(exist_ok=True)
        defaults = {"run_id": RUN_ID, "name": "relu-s0", "config": {}, "warn": warnings.append}
        return open_tracker(directory, **(defaults | settings))

    return open_run


def log_all(tracker, rows):
    for row in rows:
        tracker.log(row)


def files_holding(directory, secret):
    files = [file for file in directory.rglob("*") if file.is_file()]
    return [file for file in files if secret.encode() in file.read_bytes()]


def test_the_curve_reads_back_from_the_offline_files(tmp_path, open_run, make_rows, warnings):
    config = {"seed": 3, "model": {"order": "pointwise_first", "segments": 4}}
    tracker = open_run(experiment="order", arm="pointwise_relu", tags=["a", "b"], config=config)
    log_all(tracker, make_rows(1, 40))
    tracker.finish({"test/top1": 0.75})

    offline = read_offline_run(tmp_path)
    assert offline.curve == read_metrics(tmp_path / "metrics.jsonl") == make_rows(1, 40)
    assert offline.run["run_group"] == "order"
    assert offline.run["job_type"] == "pointwise_relu"
    assert offline.run["display_name"] == "relu-s0"
    assert offline.run["tags"] == ["a", "b"]
    assert offline.run["run_id"] == wandb_id(RUN_ID, "order", "pointwise_relu")
    assert config.items() <= offline.run["config"]["update"].items()
    assert offline.summary["test/top1"] == 0.75
    assert offline.summary["valid/top1"] == make_rows(40, 40)[0]["top1"]
    assert offline.exit_code == 0
    assert warnings == []


def test_an_offline_run_says_nothing(open_run, capfd):
    open_run().finish({})
    assert capfd.readouterr() == ("", "")


def test_charts_are_drawn_over_the_training_step(tmp_path, open_run):
    open_run().finish({})
    axes = {m.get("glob_name") or m.get("name"): m for m in read_offline_run(tmp_path).metrics}
    assert axes["train/*"]["step_metric"] == axes["valid/*"]["step_metric"] == "step"
    assert {"step", "epoch"} <= axes.keys()


def test_a_failed_run_is_one_in_w_and_b(tmp_path, open_run):
    open_run().finish({"reason": "diverged"}, failed=True)
    offline = read_offline_run(tmp_path)
    assert (offline.exit_code, offline.summary["reason"]) == (1, "diverged")


def test_a_loss_that_is_not_finite_reaches_w_and_b(tmp_path, open_run):
    tracker = open_run()
    row = {"step": 1, "epoch": 0.1, "split": "train", "loss": math.nan, "top1": math.inf}
    tracker.log(row)
    tracker.finish({})
    (mirrored,) = read_offline_run(tmp_path).curve
    assert math.isnan(float(mirrored["loss"])) and float(mirrored["top1"]) == math.inf


def test_runs_open_at_once_keep_their_curves_apart(tmp_path, open_run, make_rows, warnings):
    directories = [tmp_path / "first", tmp_path / "second"]
    trackers = [open_run(path, run_id=f"{i}" * 64) for i, path in enumerate(directories)]
    for first, second in zip(make_rows(1, 30), make_rows(101, 130), strict=True):
        trackers[0].log(first)
        trackers[1].log(second)
    for tracker in trackers:
        tracker.finish({})
    assert read_offline_run(directories[0]).curve == make_rows(1, 30)
    assert read_offline_run(directories[1]).curve == make_rows(101, 130)
    assert warnings == []


def kill_with_children(process):
    """Kills a process and wandb's service at once, as when a machine is lost.

    Returns the time, and the number of processes that the first one had started.
    """
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    children = {int(pid) for task in tasks for pid in (task / "children").read_text().split()}
    for pid in {process.pid, *children}:
        os.kill(pid, signal.SIGKILL)
    killed_at = time.time()
    process.wait()
    return killed_at, len(children)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds children through /proc")
def test_a_kill_loses_a_second_of_w_and_b_and_a_resume_mends_it(tmp_path, open_run, make_rows):
    process = start_program("track_slowly", tmp_path)
    until = time.time() + 20
    logged = [stdout_of(process).readline().split()]
    while float(logged[-1][1]) < min(until, float(logged[0][1]) + 5):
        logged.append(stdout_of(process).readline().split())
    killed_at, children = kill_with_children(process)
    assert children == 1
    logged += [line.split() for line in stdout_of(process).read().splitlines()]

    kept = [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert kept == list(range(1, len(kept) + 1)) and len(kept) >= len(logged)
    mirrored = [row["step"] for row in read_offline_run(tmp_path).curve]
    assert mirrored == list(range(1, len(mirrored) + 1))
    # One second between flushes, and another for a machine that is busy with other tests.
    flushed = [int(step) for step, when in logged if float(when) < killed_at - 2]
    assert len(flushed) > 5 and mirrored[-1] >= flushed[-1]

    log = tmp_path / "metrics.jsonl"
    log.write_bytes(read_lines(log, 5))
    tracker = open_run()
    log_all(tracker, [row for row in make_rows(6, 60) if row["split"] == "train"])
    tracker.finish({})
    offline = read_offline_run(tmp_path)  # fails if a second segment is left
    assert [row["step"] for row in offline.curve] == list(range(1, 61))
    assert offline.curve == read_metrics(tmp_path / "metrics.jsonl")


def test_a_run_from_the_start_drops_what_an_earlier_attempt_left(tmp_path, open_run, make_rows):
    for _ in range(2):
        (tmp_path / "metrics.jsonl").unlink(missing_ok=True)  # as a run does that starts anew
        tracker = open_run()
        log_all(tracker, make_rows(1, 10))
        tracker.finish({})
    assert read_offline_run(tmp_path).curve == make_rows(1, 10)
    assert read_metrics(tmp_path / "metrics.jsonl") == make_rows(1, 10)


def test_w_and_b_files_of_other_runs_are_left_alone(tmp_path, open_run):
    other = tmp_path / "wandb" / "offline-run-20200101_000000-other"
    other.mkdir(parents=True)
    open_run().finish({})
    assert other.is_dir()


def test_an_unreachable_server_costs_a_warning_and_no_time(tmp_path):
    secrets = {"WANDB_API_KEY": KEY, "MY_TOKEN": "hunter2hunter2"}
    script = start_program("track_online", tmp_path, WANDB_BASE_URL=CLOSED_PORT, **secrets)
    output = script.communicate(timeout=60)
    assert (script.returncode, *output) == (0, "", "")
    result = json.loads((tmp_path / "result.json").read_text())
    (warning,) = result["warnings"]
    assert "offline" in warning and "refused" in warning
    assert result["slowest"] < 0.5
    assert result["seconds"] < 15
    for name in "ab":
        steps = [row["step"] for row in read_offline_run(tmp_path / name).curve]
        assert steps == list(range(1, 31))
    for secret in secrets.values():
        assert files_holding(tmp_path, secret) == []


def test_no_key_falls_back_without_asking_on_a_terminal(tmp_path):
    terminal, process_end = pty.openpty()
    process = subprocess.Popen(
        program("track_online", tmp_path),
        env=os.environ | {"WANDB_BASE_URL": CLOSED_PORT},
        stdin=process_end,
        stdout=process_end,
        stderr=process_end,
        start_new_session=True,
    )
    os.close(process_end)
    assert process.wait(timeout=30) == 0
    try:
        output = os.read(terminal, 10_000)
    except OSError:  # Linux's way of saying that nothing was written
        output = b""
    os.close(terminal)
    assert output == b""
    result = json.loads((tmp_path / "result.json").read_text())
    (warning,) = result["warnings"]
    assert "no API key" in warning
    assert result["seconds"] < 10
    assert len(read_offline_run(tmp_path / "b").curve) == 30


def test_disabled_writes_nothing_and_imports_nothing(tmp_path):
    output = start_program("track_disabled", tmp_path).communicate(timeout=30)
    assert output == ("False\n", "")
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_the_variable_that_disables_wandb_is_obeyed(tmp_path, open_run, monkeypatch):
    """It is how machines without W&B are set up, and its own library obeys it only by default."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    open_run().finish({})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_run_without_wandb_keeps_its_log(tmp_path, open_run, make_rows, warnings, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracker = open_run()
    log_all(tracker, make_rows())
    tracker.finish({})
    assert read_metrics(tmp_path / "metrics.jsonl") == make_rows()
    (warning,) = warnings
    assert "without W&B" in warning


def test_a_setting_that_wandb_refuses_is_a_warning(tmp_path, open_run, make_rows, warnings):
    tracker = open_run(tags=["x" * 65])
    log_all(tracker, make_rows())
    tracker.finish({})
    (warning,) = warnings
    assert "Tag" in warning
    assert not (tmp_path / "wandb").exists()


def test_a_place_that_cannot_be_written_is_a_warning(tmp_path, open_run, make_rows, warnings):
    (tmp_path / "wandb").write_text("a file where a directory should be")
    tracker = open_run()
    log_all(tracker, make_rows())
    tracker.finish({})
    assert read_metrics(tmp_path / "metrics.jsonl") == make_rows()
    (warning,) = warnings
    assert "without W&B" in warning


def test_a_full_disk_is_a_warning(tmp_path, open_run, make_rows, warnings, monkeypatch):
    """The package gives this warning because wandb gives none."""
    full = shutil._ntuple_diskusage(1 << 30, 1 << 30, 0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    tracker = open_run()
    log_all(tracker, make_rows())
    tracker.finish({})
    (warning,) = warnings
    assert f"{tmp_path}/wandb is full" in warning and "xception-jax sync" in warning


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds children through /proc")
def test_a_service_that_dies_costs_one_run_its_mirror(tmp_path):
    output, errors = start_program("track_after_a_death", tmp_path).communicate(timeout=60)
    assert errors == ""
    assert output.count("without W&B") == len(output.splitlines()) == 1
    for name in "ab":
        assert len(read_metrics(tmp_path / name / "metrics.jsonl")) == 30
    assert len(read_offline_run(tmp_path / "b").curve) == 30


def test_a_mirror_that_hangs_is_left_behind(tmp_path, warnings, monkeypatch):
    monkeypatch.setattr(weights_and_biases, "_FINISH_SECONDS", 0.2)
    with weights_and_biases._service.opening:  # the thread waits here as long as the test does
        run = start_run(
            directory=tmp_path, run_id=RUN_ID, name="n", config={}, warn=warnings.append
        )
        assert run is not None
        started = time.monotonic()
        run.finish({}, failed=False)
        assert time.monotonic() - started < 2
        (warning,) = warnings
        assert "does not end" in warning
    run._thread.join(20)


def test_the_id_is_stable_and_of_its_own_per_experiment():
    assert wandb_id(RUN_ID, None, None) == RUN_ID[:16]
    identifier = wandb_id(RUN_ID, "order", "depthwise_none")
    assert identifier == wandb_id(RUN_ID, "order", "depthwise_none")
    assert identifier.startswith(RUN_ID[:16])
    assert identifier != wandb_id(RUN_ID, "nonlinearity", "depthwise_none")
    assert identifier != wandb_id("cd" * 32, "order", "depthwise_none")


def test_tracker_names_what_a_loop_gets_wrong(open_run, make_rows):
    tracker = open_run(mode="disabled")
    log_all(tracker, make_rows(1, 3))
    with pytest.raises(ValueError, match="step 3"):
        tracker.log(make_rows(3, 3)[0])


def test_files_are_neither_written_nor_deleted_through_a_link(tmp_path, open_run, warnings):
    """A directory that somebody else has made may have a link in the place of `wandb/`."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / f"run-1-{RUN_ID[:16]}").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "wandb").symlink_to(elsewhere)
    open_run(tmp_path / "run").finish({})
    assert [path.name for path in elsewhere.iterdir()] == [f"run-1-{RUN_ID[:16]}"]
    assert len(warnings) == 1
    assert "by a link" in warnings[0]
