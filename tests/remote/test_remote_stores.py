"""Runs and data sets in stores: s3fs and gcsfs, and servers that `make test-slow` installs."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.remote.remote_runs import LONG, assert_same_as_local, finish, wait_for_rows
from tests.shrunk import CONFIG, SHRUNK
from xception_jax.data import prepare
from xception_jax.remote.store import Store

pytestmark = pytest.mark.slow


@contextmanager
def serving(module: str, *words: str) -> Iterator[int]:
    """Runs `python -m module words --port N` as a server of this machine; yields the port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    command = [sys.executable, "-m", module, *words, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"{module} does not answer")
        yield port
    finally:
        server.kill()
        server.wait()


@contextmanager
def s3(patch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with serving("moto.server") as port:
        address = f"http://127.0.0.1:{port}"
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "planted-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        request = urllib.request.Request(f"{address}/bucket", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        yield "s3://bucket"


@contextmanager
def gs(patch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("gcsfs")
    pytest.importorskip("gcp_storage_emulator")
    words = ("start", "--in-memory", "--default-bucket", "bucket")
    with serving("gcp_storage_emulator", *words) as port:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("FSSPEC_GCS_TOKEN", "anon")
        # Otherwise gcsfs asks by gRPC, which no emulator speaks, of which kind a bucket is.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        yield "gs://bucket"


@pytest.fixture(scope="module", params=[s3, gs])
def bucket(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a bucket; this process and those it starts find its server by the environment."""
    with pytest.MonkeyPatch.context() as patch, request.param(patch) as url:
        yield url


def test_a_killed_run_resumes_on_another_machine(bucket, start, call, tmp_path):
    words = ("train", CONFIG, *SHRUNK, *LONG)
    whole, url = tmp_path / "whole", f"{bucket}/results/run"
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


def test_a_run_reads_its_data_from_a_store(bucket, start, tmp_path):
    local = tmp_path / "data"
    prepare("fashion_mnist_mini", str(local))
    files = [path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()]
    Store(f"{bucket}/data").put(files, local)
    shrunk = [word for word in SHRUNK if not word.startswith("data.")]
    words = ("data.train_examples=96", "train.epochs=1", f"data.directory={bucket}/data")
    run_dir = tmp_path / "run"
    code, out, err = finish(start("train", CONFIG, "--workdir", run_dir, *shrunk, *words))
    assert (code, err) == (0, ""), out
    assert (run_dir / "predictions.npz").exists()
    records = {path.name: path.stat().st_size for path in local.rglob("*.array_record*")}
    fetched = (tmp_path / "a").rglob("*.array_record*")  # in the cache of the machine that trained
    assert records == {path.name: path.stat().st_size for path in fetched}


def test_a_bucket_that_does_not_exist_is_refused_in_one_line(bucket, start):
    code, _, err = finish(start("report", bucket.replace("bucket", "no-such-bucket/run")))
    assert code == 2
    assert err.count("\n") == 1
    assert "no-such-bucket" in err


def test_folders_made_in_a_console_are_no_files(bucket):
    import fsspec

    for key in ("console/", "console/report/", "console/report/index.html"):
        if bucket.startswith("s3"):
            s3 = fsspec.filesystem("s3")
            s3.call_s3("put_object", Bucket="bucket", Key=key, Body=b"")
        else:
            fsspec.filesystem("gs").pipe_file(f"bucket/{key}", b"")
    assert Store(f"{bucket}/console").sizes() == {"report/index.html": 0}


def test_an_object_cannot_be_written_outside(bucket, start, tmp_path):
    """Two slashes in a row are a name to a store, and would be an absolute path here."""
    outside = tmp_path / "outside"
    Store(f"{bucket}/hostile").write("run.json", b"{}")
    Store(f"{bucket}/hostile").write(f"{outside}/name", b"theirs")
    for words in (("status",), ("train", CONFIG, *SHRUNK, "--workdir")):
        code, _, err = finish(start(*words, f"{bucket}/hostile"))
        assert code == 2
        assert f"holds a name that leads out of it: {outside}/name" in err
        assert err.count("\n") == 1
    assert not outside.exists()
