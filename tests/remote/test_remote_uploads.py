"""Uploads while runs go on: at every moment a run resumes from what the store has."""

import json
import os
import random
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from xception_jax.remote import mirror, uploads
from xception_jax.remote.lease import Lease
from xception_jax.remote.store import Store
from xception_jax.remote.uploads import MARK, Step, frozen, plan

FILES = ("default/d/array", "default/manifest", MARK)


class Run:
    """A run that keeps its last two checkpoints, each with the number of rows of its log then."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.step, self._times = directory, 0, count(1)
        directory.mkdir(parents=True)

    def save(self) -> None:
        """Trains a step, saves a checkpoint as Orbax does, says so, deletes the oldest."""
        self.step += 1
        with (self.directory / "metrics.jsonl").open("a") as log:
            log.write(f"{self.step}\n")
        self._write(self.step)
        record = self.directory / ".run.json.partial"
        record.write_text(json.dumps({"step": self.step}))
        record.replace(self.directory / "run.json")
        self._delete(self.step - 2)

    def save_anew(self) -> None:
        """Deletes the newest of two checkpoints, as if it were damaged, and saves it again."""
        self._delete(self.step)
        self._write(self.step)

    def _write(self, step: int) -> None:
        version = next(self._times)
        scratch = self.directory / "checkpoints" / f"{step}.orbax-checkpoint-tmp"
        for name in (*FILES, f"default/d/{version}"):
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_text(f"{version} {step}")
            os.utime(scratch / name, ns=(version, version))
        scratch.rename(scratch.with_name(str(step)))

    def _delete(self, step: int) -> None:
        shutil.rmtree(self.directory / "checkpoints" / str(step), ignore_errors=True)


def checkpoints_in(store: Store, run: str) -> dict[int, list[bytes]]:
    """The contents of all files of the checkpoints of a run that have their mark in the store."""
    contents: dict[int, list[bytes]] = {}
    for name in (names := store.sizes()):
        if name.startswith(f"{run}/checkpoints/"):
            step = name.split("/")[3]
            if f"{run}/checkpoints/{step}/{MARK}" in names:
                contents.setdefault(int(step), []).append(store.read(name))
    return contents


def require_resumable(store: Store, run: str) -> set[int]:
    """Asserts that a run resumes from what the store has; returns the steps of its checkpoints."""
    checkpoints = checkpoints_in(store, run)
    for step, contents in checkpoints.items():
        assert len(contents) == len(FILES) + 1
        (content,) = set(contents)  # no mixture of two that were saved
        assert content.endswith(b" %d" % step)
        assert store.read(f"{run}/metrics.jsonl").count(b"\n") >= step
    return set(checkpoints)


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_run_resumes_from_any_state_of_the_store(seed, anew, tmp_path, monkeypatch):
    """Two runs save and delete checkpoints at any moment, also while they are frozen."""
    rng = random.Random(seed)
    monkeypatch.setattr("xception_jax.remote.store._CONCURRENT_TRANSFERS", 1)
    local, store = tmp_path / "local", Store(f"memory://{tmp_path.name}/sweep")
    runs = {name: Run(local / name) for name in ("runs/a", "runs/b")}
    had, saves = dict.fromkeys(runs, False), 0

    def go_on() -> None:
        nonlocal saves
        while saves and rng.random() < 0.3:
            saves -= 1
            run = rng.choice(list(runs.values()))
            if anew and run.step > 1 and rng.random() < 0.5:
                run.save_anew()
            else:
                run.save()

    def check() -> None:
        for name in runs:
            steps = require_resumable(store, name)
            assert steps or not had[name]
            had[name] = bool(steps)
            if not anew and f"{name}/run.json" in store.sizes():
                assert json.loads(store.read(f"{name}/run.json"))["step"] <= max(steps)

    def busy(operation: Callable[..., None]) -> Callable[..., None]:
        def operate(*args: Any, **options: Any) -> None:
            go_on()
            operation(*args, **options)
            check()

        return operate

    put = Store.put
    monkeypatch.setattr(Store, "put", lambda *args: put(args[0], shuffled(rng, args[1]), args[2]))
    monkeypatch.setattr(Store, "_put", busy(Store._put))
    monkeypatch.setattr(Store, "delete", busy(Store.delete))
    monkeypatch.setattr(uploads, "_link", busy(uploads._link))
    lease = Lease(store, tmp_path / "session", 30.0)
    sender = mirror._Mirror(store, local, lease, 30.0, print)
    for _ in range(8):
        saves = rng.randrange(3)
        go_on()
        saves = rng.randrange(8)
        before = {name: run.step for name, run in runs.items()}
        sender._upload()
        for name, step in before.items():  # what was there before an upload is not lost
            assert not step or max(checkpoints_in(store, name)) >= step
    saves = 0  # the runs have ended
    sender._upload()
    names = {path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()}
    assert store.sizes().keys() == names | {".lease.json"}
    lease.release()


def shuffled(rng: random.Random, names: list[str]) -> list[str]:
    return rng.sample(names, len(names))


def test_a_checkpoint_that_is_being_deleted_is_not_sent(tmp_path, monkeypatch):
    """While its files are frozen one after another, the run deletes some and saves another one."""
    run, link = Run(tmp_path / "local"), uploads._link
    run.save()

    def link_slowly(path: Path, *args: Path, lines: bool) -> None:
        if run.step == 1 and "checkpoints" in path.parts:
            for name in (MARK, "default/manifest"):
                (run.directory / "checkpoints/1" / name).unlink()
            run.save()
        link(path, *args, lines=lines)

    monkeypatch.setattr(uploads, "_link", link_slowly)
    with frozen(run.directory, {}, tmp_path / "frozen") as states:
        found = {name for name in states if "checkpoints" in name}
        assert {name.split("/")[1] for name in found} == {"2"}
        for name, (size, _) in states.items():
            assert (tmp_path / "frozen" / name).stat().st_size == size
    assert not (tmp_path / "frozen").exists()


def test_a_file_system_without_links_is_copied_from(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    run = Run(tmp_path / "local")
    run.save()
    with frozen(run.directory, {}, tmp_path / "frozen") as states:
        for name in states:
            content = (run.directory / name).read_bytes()
            assert (tmp_path / "frozen" / name).read_bytes() == content


def test_the_last_checkpoint_of_a_run_is_not_deleted():
    """It goes once the run has another one, which is in the store by then."""
    old = {"checkpoints/3/array": (1, 1), f"checkpoints/3/{MARK}": (1, 1)}
    new = {"checkpoints/4/array": (1, 2), f"checkpoints/4/{MARK}": (1, 2)}
    assert plan({}, old) == []
    assert plan(new, old) == [
        Step("put", ["checkpoints/4/array"]),
        Step("put", [f"checkpoints/4/{MARK}"]),
        Step("delete", [f"checkpoints/3/{MARK}", "checkpoints/3/array"]),
    ]
    other = {f"runs/b/{name}": state for name, state in new.items()}
    assert {step.action for step in plan(other, old)} == {"put"}


@pytest.mark.parametrize("arm", ["relu.tmp", "a.partial", "orbax-checkpoint-tmp"])
def test_an_arm_of_any_name_is_uploaded(arm, tmp_path):
    run = Run(tmp_path / "runs" / f"{arm}-s0-12345678")
    run.save()
    (run.directory / "metrics.jsonl.tmp").touch()
    (run.directory / ".lock.exclusive").touch()
    (run.directory / "checkpoints" / "2.orbax-checkpoint-tmp").mkdir()
    (run.directory / "checkpoints" / "2.orbax-checkpoint-tmp" / MARK).touch()
    names = {
        name.removeprefix(f"runs/{arm}-s0-12345678/") for name in uploads.file_states(tmp_path)
    }
    checkpoint = {f"checkpoints/1/{name}" for name in (*FILES, "default/d/1")}
    assert names == {"metrics.jsonl", "run.json", *checkpoint}
