"""Leases of living processes: held whatever they do, and not taken by a host that cannot see them.

A lease that was taken over all the same, as after a suspension, ends its former holder.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.programs import program
from xception_jax.errors import InputError
from xception_jax.remote import lease, mirrored
from xception_jax.remote.lease import NAME, Lease
from xception_jax.remote.store import Store

TAKEN = b'{"session": "another"}'


@pytest.mark.parametrize("slow", ["_put", "_get"])
def test_a_process_that_sends_or_fetches_for_long_keeps_its_lease(slow, tmp_path, monkeypatch):
    """It takes longer than a rival watches."""
    url = f"memory://{tmp_path.name}/{slow}"
    Store(url).write("config.json", b"{}")
    begun, ended, copy = threading.Event(), threading.Event(), getattr(Store, slow)

    def wait(self: Store, *args: object) -> None:
        begun.set()
        ended.wait()
        copy(self, *args)

    def work() -> None:
        with mirrored(Path(url), print) as local:
            (local / "run.json").write_text("{}")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XCEPTION_JAX_UPLOAD_SECONDS", "0.2")
    monkeypatch.setattr(Store, slow, wait)
    working = threading.Thread(target=work)
    working.start()
    try:
        assert begun.wait(60)
        with pytest.raises(InputError, match=f"is in use by process {os.getpid()} on"):
            Lease(Store(url), tmp_path / "another machine", 0.2)
    finally:
        ended.set()
        working.join()
    assert json.loads(Store(url).read(NAME))["held"] is False
    assert Store(url).read("run.json") == b"{}"


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("elsewhere", "watched"),
    [
        ({}, False),
        ({"host": "node-a"}, True),  # by NFS, two hosts have one home, which lists the sessions
        ({"processes": "boot pid:[1]"}, True),  # containers of one host have one cache
        ({"processes": None}, True),
        ({"pid": os.getpid()}, True),
    ],
)
def test_only_a_process_that_is_seen_to_have_ended_is_not_watched(
    elsewhere, watched, tmp_path, monkeypatch
):
    store, sessions = Store(f"memory://{tmp_path.name}/seen"), tmp_path / "session"
    here = {
        "host": socket.gethostname(),
        "pid": dead_process(),
        "processes": lease._namespace_of_processes(),
    }
    record = {"session": "listed", "held": True, "every": 5, "renewed": 0} | here | elsewhere
    sessions.write_text("listed")
    store.write(NAME, json.dumps(record).encode())

    def renew(seconds: float) -> None:
        if seconds == 5:
            record["renewed"] += 1
            store.write(NAME, json.dumps(record).encode())

    monkeypatch.setattr("xception_jax.remote.lease.time.sleep", renew)
    if watched:
        with pytest.raises(InputError, match=f"in use by process {record['pid']} on"):
            Lease(store, sessions, 5.0)
    else:
        ours = Lease(store, sessions, 5.0)
        assert ours.continues
        ours.release()
    assert record["renewed"] == int(watched)


@pytest.mark.parametrize("seconds", ["0.2", "3600"], ids=["while it works", "when it ends"])
def test_a_process_whose_lease_was_taken_over_ends_with_70(seconds, tmp_path):
    """It would train what another one trains, and send nothing of it."""
    url = f"file://{tmp_path}/bucket/run"
    process = subprocess.Popen(
        program("mirror_until_told", url),
        env=os.environ
        | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XCEPTION_JAX_UPLOAD_SECONDS": seconds},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    Store(url).write(NAME, TAKEN)
    if seconds == "0.2":
        process.wait(60)  # nobody told it
    _, err = process.communicate("\n", timeout=60)
    assert process.returncode == 70
    assert err == f"{url} was taken over by another process: this process ends\n"
    assert Store(url).read(NAME) == TAKEN
    sent = tmp_path / "bucket" / "run" / "run.json"
    assert not sent.exists() or sent.read_text() == "{}"


def test_of_two_that_start_at_the_same_moment_one_gives_way(tmp_path, monkeypatch):
    store = Store(f"memory://{tmp_path.name}/moment")

    def start_too(_: float) -> None:
        store.write(NAME, b'{"session": "rival", "pid": 7, "host": "b", "since": "now"}')

    monkeypatch.setattr("xception_jax.remote.lease.time.sleep", start_too)
    with pytest.raises(InputError, match="is in use by process 7 on b since now"):
        Lease(store, tmp_path / "session", 5.0)


@pytest.mark.parametrize("rival", [False, True])
def test_a_process_that_ends_while_it_is_watched_hands_its_lease_over(tmp_path, monkeypatch, rival):
    """Unless a third one takes it at the same moment."""
    store = Store(f"memory://{tmp_path.name}/hand-over-{rival}")
    record = {"session": "first", "held": True, "every": 5, "renewed": 3, "pid": 7, "host": "b"}
    store.write(NAME, json.dumps(record).encode())

    def end(seconds: float) -> None:
        if seconds == 5:
            after = {"session": "third"} if rival else {"held": False}
            store.write(NAME, json.dumps(record | {"at": 1.5} | after).encode())

    monkeypatch.setattr("xception_jax.remote.lease.time.sleep", end)
    if rival:
        with pytest.raises(InputError, match="is in use by process 7 on b"):
            Lease(store, tmp_path / "session", 5.0)
        return
    ours = Lease(store, tmp_path / "session", 5.0)
    assert not ours.continues
    assert json.loads(store.read(NAME))["pid"] == os.getpid()
    ours.release()


def test_a_lease_is_renewed_although_the_store_is_away_for_a_while(tmp_path, monkeypatch):
    store = Store(f"memory://{tmp_path.name}/away")
    ours, write, failures = Lease(store, tmp_path / "session", 0.05), Store.write, 3

    def write_later(self: Store, name: str, content: bytes) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ConnectionError
        write(self, name, content)

    monkeypatch.setattr(Store, "write", write_later)
    end = time.monotonic() + 60
    while json.loads(store.read(NAME))["renewed"] < 3:
        assert time.monotonic() < end
        time.sleep(0.05)
    ours.release()
