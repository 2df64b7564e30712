"""W&B's server and disk at their worst, beside a run that does not care."""

import json
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.faults.small_sweep import WORDS, Command
from tests.offline_runs import read_offline_run
from tests.same_run import assert_same_run
from tests.shrunk import CONFIG
from xception_jax.tracking import read_metrics
from xception_jax.tracking.weights_and_biases import _FINISH_SECONDS

pytestmark = pytest.mark.slow

KEY = "5ec2e7" * 7  # as long as a real one
PAIRS = 5  # of runs with and without W&B, in turns
PROMISE = (
    "If W&B's server or disk fails, training continues with the same curve and says so once, and "
    "`sync` completes W&B's run"
)
# 900 steps: long enough for W&B's troubles to fall within the training.
LONG = (*WORDS, "train.epochs=300", "train.evaluate_every_epochs=50", "checkpoint.every_epochs=50")


def answering(status: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *words: object) -> None:
            """Nowhere."""

    return Handler


@contextmanager
def server(kind: str) -> Iterator[str]:
    """The address of a fake W&B that `refuses`, `hangs`, or answers all with a status."""
    if kind == "hangs":
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"  # connects, and hears nothing
    elif kind == "refuses":
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))  # nobody else gets the port, and nobody listens
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    else:
        with ThreadingHTTPServer(("127.0.0.1", 0), answering(int(kind))) as serving:
            threading.Thread(target=serving.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{serving.server_port}"
            serving.shutdown()


@pytest.fixture
def train(command) -> Callable[..., tuple[Command, float]]:
    """`train("online", home, …)` to its end: the command and its seconds."""

    def train(mode: str, home: Path, **environment: str) -> tuple[Command, float]:
        started = time.monotonic()
        words = ("train", CONFIG, "--workdir", home, *LONG, f"wandb.mode={mode}")
        one = command(*words, WANDB_API_KEY=KEY, **environment)
        assert one.finish() == 0, one.err
        return one, time.monotonic() - started

    return train


def assert_whole_after_sync(command, home: Path) -> None:
    one = command("sync", home)
    assert one.finish() == 0, one.err
    assert read_offline_run(home).curve == read_metrics(home / "metrics.jsonl")


def speed(home: Path) -> float:
    return json.loads((home / "run.json").read_text())["images_per_second"]


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("kind", ["refuses", "hangs", "429", "500"])
def test_a_bad_server(kind, command, train, tmp_path, record_property):
    """A fake W&B server refuses, hangs, limits the rate or fails; the key is written nowhere.

    Each run is compared with one without W&B, in turns; the last one is then completed by `sync`.
    """
    speeds = []
    with server(kind) as address:
        for pair in range(PAIRS):
            alone, beside = tmp_path / f"alone-{pair}", tmp_path / f"beside-{pair}"
            _, seconds_alone = train("disabled", alone)
            one, seconds = train("online", beside, WANDB_BASE_URL=address)
            assert one.err.count("W&B") == len(one.err.splitlines()) == 1, one.err
            # The end waits so long; ten seconds more are for wandb's own process, started beside.
            assert seconds < seconds_alone + _FINISH_SECONDS + 10
            speeds.append(speed(beside) / speed(alone))
            assert (alone / "metrics.jsonl").read_bytes() == (beside / "metrics.jsonl").read_bytes()
            assert_same_run(alone, beside)
            for path in (*beside.rglob("*"), one.log, one.log.with_suffix(".err")):
                assert path.is_dir() or KEY.encode() not in path.read_bytes()
    assert_whole_after_sync(command, beside)
    record_property("times", PAIRS)
    record_property("speed", round(statistics.median(speeds), 2))


@pytest.mark.promise(PROMISE)
def test_a_full_disk_under_wandb(command, train, tmp_path):
    """An offline run has a file system of 16 KiB as its `wandb/`."""
    alone, beside = tmp_path / "alone", tmp_path / "beside"
    train("disabled", alone)
    place = beside / "wandb"
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "faults", place]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        one, _ = train("offline", beside)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
    assert one.err.count("W&B") == len(one.err.splitlines()) == 1, one.err
    assert (alone / "metrics.jsonl").read_bytes() == (beside / "metrics.jsonl").read_bytes()
    assert_same_run(alone, beside)
    assert_whole_after_sync(command, beside)
