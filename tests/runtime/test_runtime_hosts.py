"""Multi-host runs give the results of one process, and end quickly when a process is lost.

Two processes of two devices each stand for two hosts; gloo carries the collectives between them.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from tests.processes import free_address
from tests.programs import command_line
from tests.same_run import assert_nearly_same_run
from tests.shrunk import CONFIG, LONG, SHRUNK, SOONEST
from xception_jax.errors import FAILED, LOST_PEER, InputError
from xception_jax.records import METRICS_LOG
from xception_jax.runtime import hosts
from xception_jax.tracking import read_metrics

Processes = list[subprocess.Popen]


@pytest.fixture
def start() -> Iterator[Callable[..., Processes]]:
    """`start(workdir, *words, processes=2, devices=2)`: starts the processes of one run.

    `each` has further words for every process. All processes are killed at the end of the test.
    """
    started: Processes = []

    def start(workdir: Path, *words: str, processes=2, devices=2, each=((), ())) -> Processes:
        # Most of the processes' time goes into compiling, so it is made cheap.
        flags = "--xla_backend_optimization_level=0"
        flags += f" --xla_force_host_platform_device_count={devices}"
        program = command_line("train", CONFIG, "--workdir", workdir, *SHRUNK, *words)
        address = free_address()
        for number in range(processes):
            options = ["--coordinator", address, "--processes", processes, "--process-id", number]
            process = subprocess.Popen(
                [*program, *map(str, options), *each[number]],
                env=os.environ | {"XLA_FLAGS": flags},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(process)
        return started[-processes:]

    yield start
    for process in started:
        process.kill()
        process.wait()


def finish(processes: Processes) -> list[tuple[int, str, str]]:
    ends = [process.communicate(timeout=300) for process in processes]
    return [(process.returncode, *end) for process, end in zip(processes, ends, strict=True)]


def codes(processes: Processes) -> list[int]:
    ends = finish(processes)
    print(*ends, sep="\n")
    return [code for code, *_ in ends]


def wait_for_rows(home: Path, count: int, processes: Processes) -> None:
    end = time.monotonic() + 300
    path = home / "metrics.jsonl"
    while not path.exists() or len(read_metrics(path)) < count:
        assert all(process.poll() is None for process in processes), finish(processes)
        assert time.monotonic() < end
        time.sleep(0.01)


def newest(home: Path) -> int:
    return max(int(path.name) for path in (home / "checkpoints").iterdir())


def test_two_processes_train_the_run_of_one(start, tmp_path):
    """One and two processes of four devices agree up to the order in which gradients are summed.

    A sum rounds by 6e-8; nine steps of batch normalization amplify that, mostly to 3e-7 and once to
    1.04e-6 (of some forty runs). A share of the gradient that is missing is wrong in the first
    digit.
    """
    one = start(tmp_path / "one", *SOONEST, processes=1, devices=4)
    assert codes(one) == [0]
    two = start(tmp_path / "two", *SOONEST, "wandb.mode=offline")
    ends = finish(two)
    assert [code for code, *_ in ends] == [0, 0], ends
    assert [out.count("done: test top-1") for _, out, _ in ends] == [1, 0]
    assert [err for *_, err in ends] == ["", ""]
    assert_nearly_same_run(tmp_path / "one", tmp_path / "two", 1e-5)
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert (record["processes"], len(record["devices"])) == (2, 4)
    assert len(list((tmp_path / "two" / "wandb").glob("offline-run-*"))) == 1
    assert not list((tmp_path / "two").glob(".*.partial"))


@pytest.mark.slow
def test_two_processes_keep_parts_of_the_optimizer(start, tmp_path):
    """Each of four devices has a quarter of the state; the checkpoint is that of one process."""
    assert codes(start(tmp_path / "one", processes=1, devices=4)) == [0]
    assert codes(start(tmp_path / "two", "train.shard_optimizer=true")) == [0, 0]
    assert_nearly_same_run(tmp_path / "one", tmp_path / "two", 1e-5)


@pytest.mark.slow
def test_a_run_moves_between_hosts_and_is_the_same(start, tmp_path):
    """A run is stopped on two processes, resumed on one with other devices, then again on two.

    It has nine steps: after some twelve, rounding switches a ReLU somewhere, and runs on two and on
    four devices differ by more than rounding (measured: 1e-7 at step 10, 4e-5 at step 14).
    """
    whole, home, often = tmp_path / "whole", tmp_path / "moving", "train.log_every_steps=1"
    assert codes(start(whole, often, processes=1, devices=4)) == [0]
    two = start(home, often)
    wait_for_rows(home, 2, two)
    two[1].send_signal(signal.SIGTERM)
    assert codes(two) == [75, 75]
    stopped = [newest(home)]
    (one,) = start(home, often, processes=1, devices=2)
    assert "compiling" in one.stdout.readline()
    one.send_signal(signal.SIGTERM)
    assert codes([one]) == [75]
    stopped.append(newest(home))
    assert codes(start(home, often)) == [0, 0]
    assert json.loads((home / "run.json").read_text())["resumed_from"] == stopped
    assert 0 < stopped[0] < stopped[1] < 9
    assert_nearly_same_run(whole, home, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_takes_the_other_with_it(victim, start, tmp_path):
    """If one of a run's two processes dies, the other exits with 71, and the run resumes later."""
    home = tmp_path / "run"
    running = start(home, *LONG)
    wait_for_rows(home, 8, running)
    running[victim].kill()
    killed = time.monotonic()
    code, _, err = finish(running)[1 - victim]
    print(f"the other ended {time.monotonic() - killed:.1f} s later")
    assert code == 71, err
    assert "another process of this run is gone" in err.splitlines()[-1]
    assert json.loads((home / "run.json").read_text())["status"] == "running"
    assert codes(start(home, *LONG)) == [0, 0]
    assert json.loads((home / "run.json").read_text())["resumed_from"]


@pytest.mark.slow
def test_what_one_process_cannot_do_no_process_does(start, tmp_path):
    """Two processes of one run exit with 2 if their seeds differ, or a sweep is in the directory.

    Both say why in one line.
    """
    home = tmp_path / "run"
    ends = finish(start(home, each=((), ("seed=1",))))
    message = "xception-jax: seed: process 0 was given 0, process 1 1\n"
    assert [end[0] for end in ends] == [2, 2], ends
    assert [end[2] for end in ends] == [message, message]
    assert not home.exists()
    home.mkdir()
    (home / "sweep.json").write_text("{}")
    ends = finish(start(home))
    assert [end[0] for end in ends] == [2, 2], ends
    assert [end[2].count("\n") for end in ends] == [1, 1], ends
    assert all("holds a sweep" in end[2] for end in ends)


@pytest.mark.slow
def test_a_record_that_the_first_process_cannot_read_ends_all(start, tmp_path):
    """The first alone reads the log of metrics, and the other one would wait for it."""
    (tmp_path / "run" / METRICS_LOG).mkdir(parents=True)
    ends = finish(start(tmp_path / "run", *SOONEST))
    assert [end[0] for end in ends] == [2, 2], ends
    assert all(METRICS_LOG in end[2] for end in ends), ends
    assert [end[2].count("\n") for end in ends] == [1, 1], ends


@pytest.mark.slow
def test_an_image_that_one_process_cannot_read_ends_all(start, tmp_path):
    """The process that reads it names it and leaves at once; the other one notices that."""
    rng, images = np.random.default_rng(0), tmp_path / "images"
    for split, count in (("train", 60), ("valid", 9)):
        for number in range(count):
            path = images / split / f"class{number % 3}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(256, size=(8, 8, 3)).astype(np.uint8)).save(path)
    # The first process alone reads the first batches of training before it trains.
    broken = images / "valid" / "class1" / "4.png"
    broken.write_bytes(b"no image")
    words = [
        "data.name=folder",
        f"data.directory={images}",
        "data.train_examples=null",
        "data.pipeline=streaming",
        "data.corrupt_images=stop",
    ]
    begun = time.monotonic()
    ends = sorted(finish(start(tmp_path / "run", *SOONEST, *words)), key=lambda end: end[0])
    print(f"{time.monotonic() - begun:.1f} s", *ends, sep="\n")
    assert [code for code, *_ in ends] == [FAILED, LOST_PEER]
    (_, _, err), (_, _, of_other) = ends
    (line,) = err.splitlines()
    assert "the run failed: RuntimeError: data.corrupt_images='stop'" in line
    assert str(broken) in line
    assert str(broken) not in of_other
    assert "another process of this run is gone" in of_other.splitlines()[-1]


@pytest.mark.parametrize(("processes", "raised"), [(1, InputError), (2, RuntimeError)])
def test_input_that_one_process_alone_finds_wrong_is_an_error_of_a_run_of_several(
    processes, raised, monkeypatch
):
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    with pytest.raises((InputError, RuntimeError)) as caught, hosts.reading_own_images():
        raise InputError("data.corrupt_images", "stop", "1.png is none")
    assert type(caught.value) is raised
    assert str(caught.value) == "data.corrupt_images='stop': 1.png is none"
    with pytest.raises(OSError, match="other"), hosts.reading_own_images():
        raise OSError("other")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--processes", 2), "--coordinator: is missing; it is needed beside --processes"),
        (("--coordinator", "localhost"), "--processes: is missing"),
        (
            ("--coordinator", "localhost", "--processes", 2, "--process-id", 0),
            "--coordinator='localhost': must be HOST:PORT",
        ),
        (
            ("--coordinator", "localhost:1", "--processes", 2, "--process-id", 2),
            "--process-id=2: must be an integer from 0 to 1; nearest valid value: 1",
        ),
        (
            ("--coordinator", "localhost:1", "--processes", 0, "--process-id", 0),
            "--processes=0: must be an integer from 1",
        ),
    ],
)
def test_flags_that_fit_nothing_are_refused(words, message, call, tmp_path):
    code, _, err = call("train", CONFIG, "--workdir", tmp_path / "run", *words)
    assert code == 2
    assert err.startswith(f"xception-jax: {message}")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
