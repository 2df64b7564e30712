"""Tests of the local log: no row is lost or repeated, and every line is JSON."""

import json
import math
import os
import signal

import numpy as np
import pytest

from tests.programs import run_program, start_program, stdout_of
from xception_jax.errors import InputError
from xception_jax.tracking.jsonl import MetricsLog, read_metrics


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def row(step, split="train", **metrics):
    return {"step": step, "epoch": step / 3, "split": split, "loss": 1 / 3} | metrics


def written(path, rows):
    log = MetricsLog(path)
    for values in rows:
        log.write(values)
    return log


def test_rows_come_back_to_the_last_bit(path, make_rows):
    rows = make_rows(1, 50)
    written(path, rows).close()
    assert read_metrics(path) == rows


def test_a_row_is_in_the_file_as_soon_as_it_is_written(path):
    written(path, [row(1)])
    assert read_metrics(path) == [row(1)]


def test_keys_are_in_one_order_whatever_the_caller_s(path):
    written(path, [{"top1": 0.5, "loss": 1.0, "split": "train", "epoch": 0.0, "step": 1}])
    assert list(json.loads(path.read_text())) == ["step", "epoch", "split", "loss", "top1"]


def test_non_finite_values_stay_valid_json_and_are_restored(path):
    non_finite = row(1, loss=math.nan, top1=math.inf, top5=-math.inf)
    written(path, [non_finite])
    raw = json.loads(path.read_text(), parse_constant=refuse)
    assert (raw["loss"], raw["top1"], raw["top5"]) == (None, None, None)
    (back,) = read_metrics(path)
    assert math.isnan(back["loss"])
    assert (back["top1"], back["top5"]) == (math.inf, -math.inf)
    assert back.keys() == non_finite.keys()


def test_scalars_of_arrays_become_plain_numbers(path):
    loss = np.float32(0.1)
    kept = written(path, []).write(
        row(np.int64(3), loss=loss, top1=np.asarray(0.25), best=np.bool_(True))
    )
    assert kept == read_metrics(path)[0]
    assert kept["loss"] == float(loss) and type(kept["loss"]) is float
    assert type(kept["step"]) is int and kept["top1"] == 0.25 and kept["best"] is True


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (row(2), "step 2"),
        (row(1), "step 1"),
        (row(-1), "step"),
        (row(3.0), "step"),
        (row(True), "step"),
        (row(3, split="test"), "split"),
        (row(3, loss=np.zeros(2)), "loss"),
        (row(3, loss=[1.0]), "loss"),
        (row(3, non_finite=1.0), "non_finite"),
        ({"step": 3, "split": "train", "loss": 1.0}, "epoch"),
    ],
)
def test_a_bad_row_is_refused_and_leaves_no_trace(path, bad, named):
    log = written(path, [row(1), row(2)])
    with pytest.raises(ValueError, match=named):
        log.write(bad)
    log.write(row(3))
    assert [values["step"] for values in read_metrics(path)] == [1, 2, 3]


def test_each_split_has_its_own_steps(path):
    rows = [row(5), row(5, "valid"), row(6), row(10, "valid"), row(7)]
    log = written(path, rows)
    assert (log.last_step("train"), log.last_step("valid")) == (7, 10)
    assert read_metrics(path) == rows


def test_a_reopened_log_knows_where_it_ended(path):
    written(path, [row(1), row(4), row(2, "valid")]).close()
    log = MetricsLog(path)
    assert (log.last_step("train"), log.last_step("valid")) == (4, 2)
    with pytest.raises(ValueError, match="step 4"):
        log.write(row(4))


@pytest.mark.parametrize("lost", [1, 2, 30])
def test_a_torn_last_line_is_left_out_and_then_cut_off(path, lost):
    written(path, [row(1), row(2)]).close()
    path.write_bytes(path.read_bytes()[:-lost])
    assert read_metrics(path) == [row(1)]
    MetricsLog(path).write(row(2, loss=0.5))
    assert read_metrics(path) == [row(1), row(2, loss=0.5)]


@pytest.mark.parametrize(
    "damage", [b"{", b"\x00" * 40, b"[1]", b"7", b'{"step": 1}', b"", b"\xff\xfe"]
)
def test_damage_in_the_middle_names_file_and_line(path, damage):
    written(path, [row(1), row(2), row(3)]).close()
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], damage, *lines[2:]]))
    for read in (read_metrics, MetricsLog):
        with pytest.raises(InputError, match=r"metrics\.jsonl'.*line 2 is damaged"):
            read(path)


def test_a_repeated_step_in_the_file_is_damage(path):
    written(path, [row(1), row(2)]).close()
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(InputError, match="line 3"):
        read_metrics(path)


def test_a_file_that_cannot_be_read_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_metrics(tmp_path / "metrics.jsonl")
    with pytest.raises(InputError, match="is not a regular file"):
        MetricsLog(tmp_path)


def test_a_full_disk_leaves_no_part_of_a_row(path, monkeypatch):
    log = written(path, [row(1)])
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, line: write(file, line[:10]))
        with pytest.raises(OSError, match="part of a row"):
            log.write(row(2))
    assert read_metrics(path) == [row(1)]
    log.write(row(2))
    assert read_metrics(path) == [row(1), row(2)]


def test_a_kill_loses_no_row_that_was_written(path):
    writer = start_program("write_metrics", path)
    reported = [int(stdout_of(writer).readline()) for _ in range(2000)]
    writer.send_signal(signal.SIGKILL)
    reported += map(int, stdout_of(writer).read().split("\n")[:-1])
    writer.wait()
    steps = [values["step"] for values in read_metrics(path)]
    assert steps == list(range(len(steps)))
    assert len(steps) > max(reported)


def test_importing_the_package_imports_neither_wandb_nor_jax():
    done = run_program("find_imports", "xception_jax.tracking", "wandb", "jax")
    assert done.stdout == "\n", done.stderr
