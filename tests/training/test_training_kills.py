"""Runs as processes: signals, kills at any moment, and the cache of compiled programs."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.offline_runs import read_offline_run
from tests.processes import started, wait_until
from tests.same_run import assert_same_run
from tests.shrunk import CONFIG, LONG, SHRUNK
from xception_jax.tracking import read_metrics


def finish(process: subprocess.Popen, timeout: float = 120) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def rows(home: Path) -> int:
    path = home / "metrics.jsonl"
    return len(read_metrics(path)) if path.exists() else 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("whole") / "run"
    with started("train", CONFIG, "--workdir", home, *SHRUNK, *LONG) as process:
        code, out, err = finish(process)
    assert (code, err) == (0, "")
    assert re.search(r"done: test top-1 0\.\d{4}, .* on 180 images; files in ", out)
    return home


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_says_so(number, whole, command, tmp_path):
    process = command(tmp_path / "run", *LONG)
    wait_until(lambda: rows(tmp_path / "run") > 5, process)
    os.killpg(process.pid, number)  # as a terminal does
    code, _, err = finish(process)
    assert code == 75
    assert err.splitlines()[0] == "stopping after this step; interrupt again to stop at once"
    stopped = re.fullmatch(r"stopped after step (\d+); .*", err.splitlines()[1])
    assert stopped is not None
    step = int(stopped[1])
    assert step < 60
    assert str(step) in {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert finish(command(tmp_path / "run", *LONG))[0] == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["resumed_from"] == [step]
    assert_same_run(whole, tmp_path / "run")


def test_a_second_interrupt_ends_it_at_once(command, tmp_path):
    process = command(tmp_path / "run", *LONG)
    wait_until(lambda: "compiling" in process.stdout.readline(), process)
    process.send_signal(signal.SIGINT)
    assert "stopping" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert finish(process, timeout=5)[0] == -signal.SIGINT


def saving(home: Path) -> bool:
    """Whether a checkpoint is being written: Orbax's temporary names say so."""
    return any("orbax-checkpoint-tmp" in path.name for path in home.glob("checkpoints/*"))


def test_kills_leave_no_trace(whole, command, tmp_path, rng):
    """At a random step, then in the middle of a checkpoint."""
    home, least = tmp_path / "run", int(rng.integers(4, 20))
    process = command(home, *LONG)
    wait_until(lambda: rows(home) > least, process)
    process.kill()
    finish(process)
    before = rows(home)
    process = command(home, *LONG)
    wait_until(lambda: rows(home) > before + 2 and saving(home), process)
    process.kill()
    finish(process)
    code, _, err = finish(command(home, *LONG))
    assert (code, err) == (0, "")
    assert json.loads((home / "run.json").read_text())["resumed_from"]
    assert_same_run(whole, home)


@pytest.mark.slow
def test_a_second_process_finds_the_compiled_programs(command, tmp_path):
    """And computes the same bits with them as the one that compiled them."""
    cache, seconds, entries = tmp_path / "cache", [], []
    for name in ("cold", "warm"):
        code, _, err = finish(command(tmp_path / name, XDG_CACHE_HOME=str(cache)))
        assert (code, err) == (0, "")
        record = json.loads((tmp_path / name / "run.json").read_text())
        seconds.append(record["compile_seconds"])
        entries.append({p.name for p in cache.rglob("*-cache")})
    assert entries[0]
    assert entries[1] == entries[0]
    assert seconds[1] < 0.7 * seconds[0]
    assert_same_run(tmp_path / "cold", tmp_path / "warm")


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_does_not_matter(command, tmp_path):
    (tmp_path / "file").write_text("")
    code, *_ = finish(command(tmp_path / "run", XDG_CACHE_HOME=str(tmp_path / "file")))
    assert code == 0


def test_the_offline_curve_of_wandb_is_metrics_jsonl(command, tmp_path):
    home = tmp_path / "run"
    code, _, err = finish(command(home, "wandb.mode=offline", "seed=4"))
    assert (code, err) == (0, "")
    offline = read_offline_run(home)
    assert offline.curve == read_metrics(home / "metrics.jsonl")
    assert offline.run["display_name"] == "fashion_mnist_mini-s4"
