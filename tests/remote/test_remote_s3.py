"""Runs and data sets in an S3 store: s3fs and a moto server, which `make test-slow` installs."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.remote.remote_runs import assert_same_as_local, finish, wait_for_rows
from tests.shrunk import CONFIG, SHRUNK
from xception_jax.data import prepare
from xception_jax.remote.store import Store

pytestmark = pytest.mark.slow
LONG = ("train.epochs=40", "train.evaluate_every_epochs=2", "checkpoint.every_epochs=2")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of a bucket; this process and those it starts find its server by the environment."""
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


def test_a_killed_run_resumes_on_another_machine(s3, start, call, tmp_path):
    words = ("train", CONFIG, *SHRUNK, *LONG)
    whole, url = tmp_path / "whole", f"{s3}/results/run"
    assert call(*words, "--workdir", whole)[0] == 0
    first = start(*words, "--workdir", url)
    wait_for_rows(url, 20, first)
    first.send_signal(signal.SIGKILL)
    finish(first)
    code, out, err = finish(start(*words, "--workdir", url, machine="b"))
    assert (code, err) == (0, ""), out + err
    assert_same_as_local(whole, url)
    code, out, err = finish(start("report", url, machine="c"))
    assert code == 0, err
    assert "report/index.html" in Store(url).sizes()
    for name in Store(url).sizes():
        assert b"planted-secret" not in Store(url).read(name)


def test_a_run_reads_its_data_from_a_store(s3, start, tmp_path):
    local = tmp_path / "data"
    prepare("fashion_mnist_mini", str(local))
    files = [path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()]
    Store(f"{s3}/data").put(files, local)
    shrunk = [word for word in SHRUNK if not word.startswith("data.")]
    words = ("data.train_examples=96", "train.epochs=1", f"data.directory={s3}/data")
    run_dir = tmp_path / "run"
    code, out, err = finish(start("train", CONFIG, "--workdir", run_dir, *shrunk, *words))
    assert (code, err) == (0, ""), out
    assert (run_dir / "predictions.npz").exists()


def test_a_bucket_that_does_not_exist_is_refused_in_one_line(s3, start):
    code, _, err = finish(start("report", "s3://no-such-bucket/run"))
    assert code == 2
    assert err.count("\n") == 1
    assert "no-such-bucket" in err


def test_folders_made_in_a_console_are_no_files(s3):
    import s3fs

    for key in ("console/", "console/report/", "console/report/index.html"):
        s3fs.S3FileSystem().call_s3("put_object", Bucket="bucket", Key=key, Body=b"")
    assert Store(f"{s3}/console").sizes() == {"report/index.html": 0}


def test_an_object_cannot_be_written_outside(s3, start, tmp_path):
    """Two slashes in a row are a name to a store, and would be an absolute path here."""
    outside = tmp_path / "outside"
    Store(f"{s3}/hostile").write("run.json", b"{}")
    Store(f"{s3}/hostile").write(f"{outside}/name", b"theirs")
    for words in (("status",), ("train", CONFIG, *SHRUNK, "--workdir")):
        code, _, err = finish(start(*words, f"{s3}/hostile"))
        assert code == 2
        assert f"holds a name that leads out of it: {outside}/name" in err
        assert err.count("\n") == 1
    assert not outside.exists()
