"""Data sets in a store: fetched once, or anew when they change, by one process at a time."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from xception_jax.errors import InputError
from xception_jax.remote import copied, fetched, mirrored
from xception_jax.remote.store import Store


def test_a_data_set_is_fetched_once(tmp_path, monkeypatch):
    from xception_jax.data import load
    from xception_jax.data.storing import ArraySet, Description, store

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images, labels = np.zeros((40, 8, 8, 1), np.uint8), np.arange(40) % 2
    splits = {"train": (images, labels), "test": (images[:6], labels[:6])}
    few = ArraySet(Description("few", "1.0.0", "", "", ("a", "b")), splits)
    store(few, str(tmp_path / "bucket"))
    names = []
    get = Store._get

    def note(self, name, *args):
        names.append(name)
        return get(self, name, *args)

    monkeypatch.setattr(Store, "_get", note)
    url = f"file://{tmp_path}/bucket"
    for _ in range(2):
        source = load("few", directory=url)
        assert len(source.splits["test"]) == 6
    assert len(names) == len(set(names)) > 2
    with pytest.raises(InputError, match="there is nothing"):
        load("cifar10", directory=url)


def test_a_set_that_has_changed_is_fetched_anew_beside_the_old_copy(tmp_path, monkeypatch):
    """A file that moved to another class would else be in both of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url, get = f"memory://{tmp_path.name}/moving", Store._get
    fetches: list[str] = []

    def files(copy: Path) -> dict[str, bytes]:
        paths = (path for path in copy.rglob("*") if path.is_file())
        return {path.relative_to(copy).as_posix(): path.read_bytes() for path in paths}

    def note(self: Store, name: str, path: Path) -> None:
        fetches.append(name)
        get(self, name, path)

    monkeypatch.setattr(Store, "_get", note)
    before = {"train/ant/0.png": b"ant", "train/ant/1.png": b"a bee", "train/bee/0.png": b"bee"}
    after = {name: before[name] for name in before if "1" not in name}
    after["train/bee/1.png"] = before["train/ant/1.png"]
    for name, content in before.items():
        Store(url).write(name, content)
    old = fetched("data.directory", url)
    assert fetched("data.directory", url) == old
    assert sorted(fetches) == sorted(before)
    Store(url).write("train/bee/1.png", after["train/bee/1.png"])
    Store(url).delete(["train/ant/1.png"])
    new = fetched("data.directory", url)
    assert files(new) == after
    assert files(old) == before  # which a run may be reading
    assert new.name == old.name == "moving"


def test_a_set_that_changes_while_it_is_fetched_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url, get = f"memory://{tmp_path.name}/changing", Store._get

    def change_then_get(self: Store, name: str, path: Path) -> None:
        self.write(name, b"longer")
        get(self, name, path)

    Store(url).write("train/ant/0.png", b"ant")
    monkeypatch.setattr(Store, "_get", change_then_get)
    with pytest.raises(InputError, match="changed while it was fetched; start again"):
        fetched("data.directory", url)
    monkeypatch.setattr(Store, "_get", get)
    copy = fetched("data.directory", url)
    assert (copy / "train/ant/0.png").read_bytes() == b"longer"


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


@pytest.mark.parametrize("command", ["fetched", "copied", "mirrored"])
def test_a_full_disk_of_this_machine_is_no_fault_of_the_url(command, tmp_path, monkeypatch):
    """Exit code 1, not 2: the same command may succeed later."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"memory://{tmp_path.name}/full"
    Store(url).write("run.json", b"{}")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Store, "_get", fail)
    with pytest.raises(OSError, match="No space left on device"):
        if command == "fetched":
            fetched("data.directory", url)
        else:
            (copied(Path(url)) if command == "copied" else mirrored(Path(url), print)).__enter__()
