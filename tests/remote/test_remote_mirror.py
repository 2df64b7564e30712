"""Directories in a store, from the command line: kept there, shared by nobody, nothing lost.

A `file://` URL is the store here; tests/remote/test_remote_s3.py has an S3 server.
"""

import json
import signal
import time
from pathlib import Path

import pytest

from tests.remote.remote_runs import assert_is_as, finish, wait_for_rows
from tests.shrunk import CONFIG, EXPERIMENT, SHRUNK
from xception_jax.errors import InputError
from xception_jax.remote import copied, mirrored, url_of
from xception_jax.remote.store import Store

LONG = ("train.epochs=40", "train.evaluate_every_epochs=2", "checkpoint.every_epochs=2")


@pytest.fixture
def url(tmp_path) -> str:
    return f"file://{tmp_path}/bucket/results/run"


@pytest.mark.slow
@pytest.mark.parametrize("same_machine", [True, False], ids=["here", "elsewhere"])
def test_a_killed_run_goes_on_here_and_elsewhere(same_machine, url, start, call, tmp_path):
    words = ("train", CONFIG, *SHRUNK, *LONG)
    whole = tmp_path / "whole"
    assert call(*words, "--workdir", whole)[0] == 0
    first = start(*words, "--workdir", url)
    wait_for_rows(url, 20, first)
    first.send_signal(signal.SIGKILL)
    finish(first)
    code, out, err = finish(start("status", url, machine="c"))
    assert (code, err) == (0, "")
    assert "running" in out  # for as long as its lease could be renewed
    code, out, err = finish(start(*words, "--workdir", url, machine="a" if same_machine else "b"))
    assert (code, err) == (0, ""), err
    record = json.loads(Store(url).read("run.json"))
    assert record["status"] == "done"
    assert record["resumed_from"]
    assert_is_as(whole, url)


@pytest.mark.slow
def test_a_sweep_is_kept_reported_and_evaluated(url, start, tmp_path):
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


def test_half_a_checkpoint_is_none(tmp_path):
    url = f"memory://{tmp_path.name}/half"
    store = Store(url)
    for step, names in ((6, ("default/array", "_CHECKPOINT_METADATA")), (9, ("default/array",))):
        for name in names:
            store.write(f"checkpoints/{step}/{name}", b"x")
    with copied(Path(url), checkpoints=True) as here:
        assert [path.name for path in (here / "checkpoints").iterdir()] == ["6"]


def test_a_name_that_leads_out_is_refused(tmp_path, monkeypatch):
    url = f"memory://{tmp_path.name}/bad"
    Store(url).write("run.json", b"{}")
    found = {f"/{tmp_path.name}/bad/../../etc/passwd": {"size": 1}}
    monkeypatch.setattr(
        "fsspec.implementations.memory.MemoryFileSystem.find", lambda *_, **__: found
    )
    with pytest.raises(InputError, match="leads out of it"), copied(Path(url)):
        pass


def test_a_store_that_is_away_for_a_while_gets_it_later(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XCEPTION_JAX_UPLOAD_SECONDS", "0.1")
    url = f"memory://{tmp_path.name}/away"
    told: list[str] = []
    away, write = [False], Store.write

    def refuse(self, name: str, content: bytes) -> None:
        if away[0]:
            raise ConnectionError("no route")
        write(self, name, content)

    monkeypatch.setattr(Store, "write", refuse)
    with mirrored(Path(url), told.append) as here:
        away[0] = True
        (here / "run.json").write_text("{}")
        time.sleep(1)
        away[0] = False
    assert len(told) == 1
    assert "cannot be written, and is tried again: ConnectionError: no route" in told[0]
    assert Store(url).read("run.json") == b"{}"


def test_what_could_not_be_sent_is_kept_and_sent_by_the_next_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url, put = f"memory://{tmp_path.name}/unsent", Store.put
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", lambda *_: (_ for _ in ()).throw(ConnectionError("no route")))
        with (
            pytest.raises(OSError, match="the same command on this machine sends it"),
            mirrored(Path(url), print) as here,
        ):
            (here / "config.json").write_text("{}")
    assert "config.json" not in Store(url).sizes()
    assert Store.put is put
    with mirrored(Path(url), print) as here:
        assert (here / "config.json").exists()
    assert Store(url).read("config.json") == b"{}"


def test_what_is_fetched_by_half_is_not_taken_for_the_whole(tmp_path, monkeypatch):
    """Or the next command would delete the other half in the store."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a"))
    url = f"memory://{tmp_path.name}/half-fetched"
    with mirrored(Path(url), print) as here:
        for name in ("config.json", "run.json", "predictions.npz"):
            (here / name).write_text(name)
    before = Store(url).sizes().keys()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    with monkeypatch.context() as patch:
        get = Store._get

        def killed(self, name: str, path: Path) -> None:
            if name == "run.json":
                raise KeyboardInterrupt
            get(self, name, path)

        patch.setattr(Store, "_get", killed)
        with pytest.raises(KeyboardInterrupt), mirrored(Path(url), print):
            pass
    with mirrored(Path(url), print) as here:
        assert (here / "run.json").read_text() == "run.json"
    assert Store(url).sizes().keys() == before


def test_what_others_have_put_there_stays(tmp_path, monkeypatch):
    """A report that was written elsewhere; but not a checkpoint that is gone here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"memory://{tmp_path.name}/others"
    with mirrored(Path(url), print) as here:
        (here / "run.json").write_text("{}")
    for name in ("report/index.html", "checkpoints/3/_CHECKPOINT_METADATA"):
        Store(url).write(name, b"x")
    with mirrored(Path(url), print):
        pass
    assert Store(url).sizes().keys() == {".lease.json", "run.json", "report/index.html"}


def test_a_data_set_is_fetched_once(tmp_path, monkeypatch):
    from xception_jax.data import load, prepare

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prepare("fashion_mnist_mini", str(tmp_path / "bucket"))
    fetched = []
    get = Store._get

    def note(self, name, *args):
        fetched.append(name)
        return get(self, name, *args)

    monkeypatch.setattr(Store, "_get", note)
    url = f"file://{tmp_path}/bucket"
    for _ in range(2):
        source = load("fashion_mnist_mini", directory=url)
        assert len(source.splits["test"]) == 2000
    assert len(fetched) == len(set(fetched)) > 2
    with pytest.raises(InputError, match="there is nothing"):
        load("cifar10", directory=url)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", CONFIG, "--workdir", "s3://b/run", "seed=x"), "seed='x'"),
        (("report", "memory://nowhere/run"), "directory='memory://nowhere/run': there is nothing"),
        (("status", "memory://nowhere/run"), "there is nothing"),
        (("report", "memory://nowhere/run", "--watch"), "--watch='memory://nowhere/run': follows"),
        (("sync", "memory://nowhere/run"), "copy it to this machine first"),
        (
            ("sweep", EXPERIMENT, "--workdir", "memory://b/s", "--launcher", "ray", *SHRUNK),
            "--launcher ray has other machines",
        ),
        (("data", "list", "--directory", "gs://b/data"), "only directories of this machine"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words, said, call):
    code, _, err = call(*words)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("place", "url"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        (Path("gs://bucket/a"), "gs://bucket/a"),
        (Path("file:///tmp/a"), "file:///tmp/a"),
        ("results/s3/a", None),
        (Path("/tmp/gs:x"), None),
    ],
)
def test_a_url_is_known_as_text_and_as_a_path(place, url):
    assert url_of(place) == url
