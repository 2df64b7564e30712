"""The same against an S3 server (moto's), through s3fs; `make test-slow` installs both."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remote.remote_runs import assert_is_as, finish, wait_for_rows
from tests.shrunk import CONFIG, SHRUNK
from xception_jax.data import prepare
from xception_jax.remote.store import Store

pytestmark = pytest.mark.slow
LONG = ("train.epochs=40", "train.evaluate_every_epochs=2", "checkpoint.every_epochs=2")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket; the environment names its server, to this process and those it starts."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "planted-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for _ in range(100):
            try:
                request = urllib.request.Request(f"{address}/bucket", method="PUT")
                urllib.request.urlopen(request, timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield "s3://bucket"
    server.kill()
    server.wait()


def test_a_killed_run_goes_on_on_another_machine(s3, start, call, tmp_path):
    words = ("train", CONFIG, *SHRUNK, *LONG)
    whole, url = tmp_path / "whole", f"{s3}/results/run"
    assert call(*words, "--workdir", whole)[0] == 0
    first = start(*words, "--workdir", url)
    wait_for_rows(url, 20, first)
    first.send_signal(signal.SIGKILL)
    finish(first)
    code, out, err = finish(start(*words, "--workdir", url, machine="b"))
    assert (code, err) == (0, ""), out + err
    assert_is_as(whole, url)
    code, out, err = finish(start("report", url, machine="c"))
    assert code == 0, err
    assert "report/index.html" in Store(url).sizes()
    for name in Store(url).sizes():
        assert b"planted-secret" not in Store(url).read(name)


def test_data_may_be_there_too(s3, start, tmp_path):
    prepare("fashion_mnist_mini", str(tmp_path / "data"))
    local = tmp_path / "data"
    there = Store(f"{s3}/data")
    files = [path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()]
    there.put(files, local)
    shrunk = [word for word in SHRUNK if not word.startswith("data.")]
    words = ("data.train_examples=96", "train.epochs=1", f"data.directory={s3}/data")
    home = tmp_path / "run"
    code, out, err = finish(start("train", CONFIG, "--workdir", home, *shrunk, *words))
    assert (code, err) == (0, ""), out
    assert Path(home, "predictions.npz").exists()


def test_what_is_not_there_is_one_line(s3, start):
    code, _, err = finish(start("report", "s3://no-such-bucket/run"))
    assert code == 2
    assert err.count("\n") == 1
    assert "no-such-bucket" in err
