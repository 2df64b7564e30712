"""Runs and sweeps in a store: killed and resumed, used by one command at a time, nothing lost.

The store here is a directory (`file://`) or memory; test_remote_stores.py has servers.
"""

import json
import random
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.remote.remote_runs import assert_same_as_local, finish, wait_for_rows
from tests.shrunk import CONFIG, EXPERIMENT, SHRUNK
from xception_jax.errors import InputError
from xception_jax.remote import copied, fetched, mirrored, url_of
from xception_jax.remote.store import Store

LONG = ("train.epochs=40", "train.evaluate_every_epochs=2", "checkpoint.every_epochs=2")


@pytest.fixture
def url(tmp_path) -> str:
    return f"file://{tmp_path}/bucket/results/run"


@pytest.mark.slow
@pytest.mark.parametrize("same_machine", [True, False], ids=["here", "elsewhere"])
def test_a_killed_run_resumes_here_and_elsewhere(same_machine, url, start, call, tmp_path):
    words = ("train", CONFIG, *SHRUNK, *LONG)
    whole = tmp_path / "whole"
    assert call(*words, "--workdir", whole)[0] == 0
    first = start(*words, "--workdir", url)
    wait_for_rows(url, 20, first)
    first.send_signal(signal.SIGKILL)
    finish(first)
    code, out, err = finish(start("status", url, machine="c"))
    assert (code, err) == (0, "")
    assert "running" in out  # until its lease has missed its renewals
    code, out, err = finish(start(*words, "--workdir", url, machine="a" if same_machine else "b"))
    assert (code, err) == (0, ""), err
    record = json.loads(Store(url).read("run.json"))
    assert record["status"] == "done"
    assert record["resumed_from"]
    assert_same_as_local(whole, url)


@pytest.mark.slow
def test_a_sweep_in_a_store_is_reported_and_evaluated_from_elsewhere(url, start):
    words = ("sweep", EXPERIMENT, "--seeds", 1, "--packing", "off", *SHRUNK)
    code, out, err = finish(start(*words, "--workdir", url))
    assert (code, err) == (0, ""), err
    for command in ("status", "audit", "report"):
        code, out, err = finish(start(command, url, machine="b"))
        assert code == 0, out + err
    assert f"the page: {url}/report/index.html" in out
    names = Store(url).sizes()
    assert {"report/index.html", "report/verdicts.json", "sweep.json"} <= names.keys()
    assert not [name for name in names if name.endswith(".lock") or "partial" in name]
    run = next(name for name in names if name.endswith("run.json")).removesuffix("/run.json")
    code, out, err = finish(start("evaluate", f"{url}/{run}", machine="b"))
    assert code == 0, err
    assert "test images" in out


@pytest.mark.slow
def test_a_second_command_is_told_who_works_there(url, start):
    words = ("train", CONFIG, *SHRUNK, *LONG, "train.epochs=4000", "--workdir", url)
    first = start(*words)
    wait_for_rows(url, 2, first)
    for machine in ("a", "b"):
        code, _, err = finish(start(*words, machine=machine))
        assert code == 2
        assert f"{url!r}: is in use by process {first.pid} on " in err
        assert err.count("\n") == 1
    first.terminate()
    code, _, err = finish(first)
    assert code == 75, err
    assert json.loads(Store(url).read(".lease.json"))["held"] is False


def test_a_checkpoint_without_its_mark_is_not_copied(tmp_path):
    url = f"memory://{tmp_path.name}/half"
    store = Store(url)
    for step, names in ((6, ("default/array", "_CHECKPOINT_METADATA")), (9, ("default/array",))):
        for name in names:
            store.write(f"checkpoints/{step}/{name}", b"x")
    with copied(Path(url), checkpoints=True) as local:
        assert [path.name for path in (local / "checkpoints").iterdir()] == ["6"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../etc/passwd", "leads out of it: ../../etc/passwd"),
        ("/etc/name", "leads out of it: /etc/name"),  # two slashes in a row in the store
        ("report//etc/name", "leads out of it"),
        ("./run.json", "leads out of it"),
        ("/etc/\x1b[2J", r"leads out of it: '/etc/\x1b[2J'"),
        ("report/\x1b[2J.html", r"with control characters: 'report/\x1b[2J.html'"),
    ],
)
def test_an_unsafe_name_in_a_store_is_refused(name, reason, tmp_path, monkeypatch):
    url = f"memory://{tmp_path.name}/bad"
    Store(url).write("run.json", b"{}")
    found = {f"/{tmp_path.name}/bad/{name}": {"size": 1}}
    monkeypatch.setattr(
        "fsspec.implementations.memory.MemoryFileSystem.find", lambda *_, **__: found
    )
    with pytest.raises(InputError, match=re.escape(reason)), copied(Path(url)):
        pass


def test_an_object_does_not_go_through_a_link(tmp_path):
    store = Store(f"memory://{tmp_path.name}/linked")
    store.write("report/index.html", b"theirs")
    local, outside = tmp_path / "local", tmp_path / "outside"
    local.mkdir()
    outside.mkdir()
    (local / "report").symlink_to(outside)
    with pytest.raises(InputError, match=r"leads out of it: report/index\.html"):
        store.get(["report/index.html"], local)
    assert not list(outside.iterdir())


def test_images_with_unusual_spaces_are_fetched(tmp_path):
    name = "Screenshot at 1.00\u202fPM.png"
    url = f"memory://{tmp_path.name}/images"
    Store(url).write(name, b"x")
    with copied(Path(url)) as local:
        assert (local / name).read_bytes() == b"x"


def test_a_store_that_fails_for_a_while_is_updated_later(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XCEPTION_JAX_UPLOAD_SECONDS", "0.1")
    url = f"memory://{tmp_path.name}/away"
    warnings: list[str] = []
    away, write = threading.Event(), Store.write

    def write_unless_away(self, name: str, content: bytes) -> None:
        if away.is_set():
            raise ConnectionError("no route")
        write(self, name, content)

    monkeypatch.setattr(Store, "write", write_unless_away)
    with mirrored(Path(url), warnings.append) as local:
        away.set()
        (local / "run.json").write_text("{}")
        time.sleep(1)
        away.clear()
    assert len(warnings) == 1
    assert "cannot be written, and is tried again: ConnectionError: no route" in warnings[0]
    assert Store(url).read("run.json") == b"{}"


def test_a_line_is_uploaded_when_it_is_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"memory://{tmp_path.name}/lines"
    for content, sent in ((b"one\ntw", b"one\n"), (b"one\ntwo\n", b"one\ntwo\n"), (b"o", b"")):
        with mirrored(Path(url), print) as local:
            (local / "metrics.jsonl").write_bytes(content)
        assert Store(url).read("metrics.jsonl") == sent


def test_a_log_that_grows_and_is_cut_at_random_reads_back(tmp_path, monkeypatch):
    """A log is appended to, cut and continued with other rows, also by another machine."""
    rng, content = random.Random(5), b""
    url = f"memory://{tmp_path.name}/growth"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "0"))
    for session in range(40):
        if rng.random() < 0.2:
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(session)))
        with mirrored(Path(url), print) as local:
            log = local / "runs" / "a" / "metrics.jsonl"
            log.parent.mkdir(parents=True, exist_ok=True)
            assert (log.read_bytes() if log.exists() else b"") == content
            if rng.random() < 0.3:
                lines = content.splitlines(keepends=True)
                content = b"".join(lines[: rng.randrange(len(lines) + 1)])
            content += b"".join(b"%d\n" % rng.randrange(10**6) for _ in range(rng.randrange(3)))
            log.write_bytes(content)
        with copied(Path(url)) as copy:
            assert (copy / "runs" / "a" / "metrics.jsonl").read_bytes() == content


def test_what_could_not_be_uploaded_is_uploaded_by_the_next_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url, put = f"memory://{tmp_path.name}/unsent", Store.put
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", lambda *_: (_ for _ in ()).throw(ConnectionError("no route")))
        with (
            pytest.raises(OSError, match="the same command on this machine sends it"),
            mirrored(Path(url), print) as local,
        ):
            (local / "config.json").write_text("{}")
    assert "config.json" not in Store(url).sizes()
    assert Store.put is put
    with mirrored(Path(url), print) as local:
        assert (local / "config.json").exists()
    assert Store(url).read("config.json") == b"{}"


def test_an_interrupted_download_is_not_taken_for_the_whole(tmp_path, monkeypatch):
    """If it were, the next command would delete the other half in the store."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a"))
    url = f"memory://{tmp_path.name}/half-fetched"
    with mirrored(Path(url), print) as local:
        for name in ("config.json", "run.json", "predictions.npz"):
            (local / name).write_text(name)
    before = Store(url).sizes().keys()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    with monkeypatch.context() as patch:
        get = Store._get

        def get_until_killed(self, name: str, path: Path) -> None:
            if name == "run.json":
                raise KeyboardInterrupt
            get(self, name, path)

        patch.setattr(Store, "_get", get_until_killed)
        with pytest.raises(KeyboardInterrupt), mirrored(Path(url), print):
            pass
    with mirrored(Path(url), print) as local:
        assert (local / "run.json").read_text() == "run.json"
    assert Store(url).sizes().keys() == before


def test_what_other_commands_uploaded_stays(tmp_path, monkeypatch):
    """A report written elsewhere stays; a checkpoint that this machine has deleted does not."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url, mark = f"memory://{tmp_path.name}/others", "checkpoints/{}/_CHECKPOINT_METADATA"
    with mirrored(Path(url), print) as local:
        (local / mark.format(4)).parent.mkdir(parents=True)
        for name in ("run.json", mark.format(4)):
            (local / name).write_text("{}")
    for name in ("report/index.html", mark.format(3)):
        Store(url).write(name, b"x")
    with mirrored(Path(url), print):
        pass
    ours = {".lease.json", "run.json", mark.format(4)}
    assert Store(url).sizes().keys() == ours | {"report/index.html"}


def test_a_data_set_is_fetched_once(tmp_path, monkeypatch):
    from xception_jax.data import load, prepare

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prepare("fashion_mnist_mini", str(tmp_path / "bucket"))
    names = []
    get = Store._get

    def note(self, name, *args):
        names.append(name)
        return get(self, name, *args)

    monkeypatch.setattr(Store, "_get", note)
    url = f"file://{tmp_path}/bucket"
    for _ in range(2):
        source = load("fashion_mnist_mini", directory=url)
        assert len(source.splits["test"]) == 2000
    assert len(names) == len(set(names)) > 2
    with pytest.raises(InputError, match="there is nothing"):
        load("cifar10", directory=url)


def test_of_two_that_fetch_at_once_one_waits(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"memory://{tmp_path.name}/data"
    contents = {f"{part}/name": part.encode() * 1000 for part in "abc"}
    for name, content in contents.items():
        Store(url).write(name, content)
    fetching, waiting, names = threading.Event(), threading.Event(), []

    def get_slowly(self: Store, name: str, path: Path) -> None:
        names.append(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[name][:500])
        fetching.set()
        waiting.wait(5)
        path.write_bytes(contents[name])

    def wait(_: float) -> None:
        waiting.set()
        fetching.wait()

    monkeypatch.setattr(Store, "_get", get_slowly)
    monkeypatch.setattr("xception_jax.lock.time.sleep", wait)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fetched, "data.directory", url)
        assert fetching.wait(60)
        second = pool.submit(fetched, "data.directory", url)
        for copy in (first.result(), second.result()):
            assert {name: (copy / name).read_bytes() for name in contents} == contents
    assert sorted(names) == sorted(contents)
    assert sorted(path.name for path in copy.parent.iterdir()) == [".lock", "data"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("train", CONFIG, "--workdir", "s3://b/run", "seed=x"), "seed='x'"),
        (("report", "memory://nowhere/run"), "directory='memory://nowhere/run': there is nothing"),
        (("status", "memory://nowhere/run"), "there is nothing"),
        (("report", "memory://nowhere/run", "--watch"), "--watch='memory://nowhere/run': follows"),
        (("sync", "memory://nowhere/run"), "copy it to this machine first"),
        (
            ("sweep", EXPERIMENT, "--workdir", "memory://b/s", "--launcher", "ray", *SHRUNK),
            "--launcher ray has others",
        ),
        (("data", "list", "--directory", "gs://b/data"), "only directories of this machine"),
    ],
)
def test_unsupported_uses_are_refused_in_one_line(words, reason, call):
    code, _, err = call(*words)
    assert code == 2
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        (Path("gs://bucket/a"), "gs://bucket/a"),
        (Path("file:///tmp/a"), "file:///tmp/a"),
        ("results/s3/a", None),
        (Path("/tmp/gs:x"), None),
    ],
)
def test_a_url_is_recognized_as_text_and_as_a_path(location, url):
    assert url_of(location) == url


@pytest.mark.parametrize(
    ("location", "nearest"),
    [
        ("S3://b/x", "'s3://b/x'"),
        (Path("s3n://b/x"), "'s3://b/x'"),
        (Path("GS://b/x"), "'gs://b/x'"),
        ("hdfs://name/x", None),
        (Path("wasb://b/x"), None),
        ("https://storage.googleapis.com/b/x", None),
    ],
)
def test_a_scheme_that_is_not_known_is_refused(location, nearest):
    """As a directory of this machine it would be made here, and mirrored nowhere."""
    with pytest.raises(InputError, match="must begin with one of gs://, ") as error:
        url_of(location)
    if nearest is not None:
        assert str(error.value).endswith(f"nearest valid value: {nearest}")


def test_no_directory_is_made_for_a_scheme_that_is_not_known(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call("train", CONFIG, *SHRUNK, "--workdir", "S3://b/run")
    assert code == 2
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "location", ["s3://bucket/..", Path("memory:/a/../b"), "file:///tmp/..", "s3://"]
)
def test_a_url_that_leads_upwards_is_refused(location):
    """Its last part would be the name of the directory that holds the copies of all others."""
    with pytest.raises(InputError, match="is no URL of a directory"):
        url_of(location)
