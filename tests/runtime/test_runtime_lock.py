"""Locks of directories: who holds one, and who may take it over."""

import errno
import fcntl
import io
import os
import time
from pathlib import Path

import pytest

from tests.programs import start_program, stdout_of
from xception_jax import lock
from xception_jax.errors import InputError
from xception_jax.lock import is_locked, locked

ELSEWHERE = "process 7 on another-host since 2026-01-01T00:00:00+00:00, renewed {} times\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Renewals in fractions of a second; a process takes over after six missed ones."""
    monkeypatch.setattr(lock, "RENEWED", 0.05)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path`."""
    process = start_program("hold_lock", tmp_path)
    assert stdout_of(process).readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def write_elsewhere(home: Path, renewal: int) -> None:
    (home / ".lock").write_text(ELSEWHERE.format(renewal))


def test_the_second_is_told_who_where_and_since_when(holder, tmp_path):
    with pytest.raises(InputError) as refused, locked(tmp_path):
        pass
    expected = rf"is in use by process {holder.pid} on \S+ since 20\S+$"
    assert refused.match(expected)
    assert is_locked(tmp_path)
    holder.kill()
    holder.wait()
    with locked(tmp_path):  # without waiting, since the holder was on this host
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_living_process_of_another_host_is_left_alone(tmp_path, monkeypatch):
    write_elsewhere(tmp_path, 0)
    assert is_locked(tmp_path)
    renewals = iter(range(1, 100))

    def renew(seconds: float) -> None:
        if (renewal := next(renewals)) == 3:  # two were missed
            write_elsewhere(tmp_path, renewal)

    monkeypatch.setattr("time.sleep", renew)
    with pytest.raises(InputError, match="in use by process 7 on another-host since 2026-01-01"):
        locked(tmp_path).__enter__()
    assert (tmp_path / ".lock").read_text() == ELSEWHERE.format(3)


@pytest.mark.parametrize("rival", [False, True])
def test_one_that_ends_well_while_it_is_watched_hands_over(tmp_path, monkeypatch, rival):
    """Unless a third one takes the lock at the same moment."""
    write_elsewhere(tmp_path, 0)

    def end(_: float) -> None:
        taken = ELSEWHERE.format(0).replace("another-host", "third") if rival else ""
        (tmp_path / ".lock").write_text(taken)

    monkeypatch.setattr("time.sleep", end)
    if rival:
        with pytest.raises(InputError, match="in use by process 7 on third since 2026-01-01"):
            locked(tmp_path).__enter__()
        return
    with locked(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()


def test_a_dead_one_is_taken_over_after_six_missed_renewals(tmp_path, monkeypatch):
    write_elsewhere(tmp_path, 5)
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    with locked(tmp_path):
        assert slept == [0.05] * 6
        assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()
    assert (tmp_path / ".lock").read_text() == ""


@pytest.mark.parametrize("years", [-10, -0.01, 0.01, 60])
def test_an_old_claim_of_another_host_does_not_count_as_alive(years, tmp_path):
    """Nor does one of the future, which a host with a wrong clock has left."""
    write_elsewhere(tmp_path, 5)
    then = time.time() + years * 365 * 86400
    os.utime(tmp_path / ".lock", (then, then))
    assert not is_locked(tmp_path)


def test_whoever_was_taken_over_ends(holder, tmp_path):
    (tmp_path / "next").write_text(ELSEWHERE.format(0))
    (tmp_path / "next").replace(tmp_path / ".lock")
    _, err = holder.communicate(timeout=60)
    assert holder.returncode == 70
    assert err == f"{tmp_path}/.lock is no longer this process's: it ends\n"


@pytest.mark.parametrize("call", ["fstat", "pread"])
@pytest.mark.parametrize(("error", "held"), [(errno.EIO, True), (errno.ESTALE, False)])
def test_an_open_file_that_cannot_be_read_is_not_lost(call, error, held, tmp_path, monkeypatch):
    """Unless it is stale: NFS says that of one that was deleted."""
    monkeypatch.setattr(lock, "RENEWED", 60)  # the thread does nothing meanwhile
    ours = lock._Lock(tmp_path / ".lock")

    def fail(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as unreachable:
        unreachable.setattr(os, call, fail)
        assert ours._is_still_held() is held
    ours.release()


@pytest.mark.parametrize("has_flock", [True, False])
def test_a_lock_that_a_full_disk_does_not_take_stays_free(has_flock, tmp_path, monkeypatch):
    def fail(error: int) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda *_: fail(errno.ENOSPC))
        if not has_flock:
            full.setattr(fcntl, "flock", lambda *_: fail(errno.ENOSYS))
        with pytest.raises(OSError, match="No space left"):
            locked(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with locked(tmp_path):
        pass


def test_a_deleted_lock_is_made_again(holder, tmp_path):
    (tmp_path / ".lock").unlink()
    end = time.monotonic() + 60
    while not is_locked(tmp_path):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert holder.poll() is None


@pytest.mark.parametrize("content", ["", "process", "\x00\xff nonsense", "process 1 on b"])
def test_a_damaged_lock_that_nobody_holds_is_taken(content, tmp_path):
    (tmp_path / ".lock").write_text(content)
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        pass


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    (tmp_path / ".run.json.12345.partial").write_text("{")
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_lock_that_is_a_directory_is_said(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(InputError, match="cannot be written"), locked(tmp_path):
        pass
    assert not is_locked(tmp_path)


def test_askers_do_not_take_each_other_for_a_holder(tmp_path):
    with locked(tmp_path):
        pass
    with (tmp_path / ".lock").open("rb") as asked:  # by another process, at this moment
        fcntl.flock(asked, fcntl.LOCK_SH)
        assert not is_locked(tmp_path)


def test_a_living_process_is_seen_on_nfs(tmp_path, monkeypatch):
    """NFS locks a file exclusively only where it was opened for writing, says flock(2)."""
    flock = fcntl.flock

    def flock_on_nfs(file: int | io.BufferedReader, operation: int) -> None:
        mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if operation & fcntl.LOCK_EX and mode == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, operation)

    monkeypatch.setattr("fcntl.flock", flock_on_nfs)
    with locked(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_where_a_reader_cannot_ask_for_the_lock_its_entry_decides(tmp_path, monkeypatch):
    flock = fcntl.flock

    def refuse_readers(file: int | io.BufferedReader, operation: int) -> None:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        flock(file, operation)

    monkeypatch.setattr("fcntl.flock", refuse_readers)
    monkeypatch.setattr(lock, "MISSED", 1000)  # however long this process has to wait for a core
    with locked(tmp_path):
        assert is_locked(tmp_path)
        monkeypatch.setattr(lock, "MISSED", 0)
        assert not is_locked(tmp_path)
    monkeypatch.setattr(lock, "MISSED", 1000)
    assert not is_locked(tmp_path)  # its holder has emptied it


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def without_flock(request, monkeypatch):
    """A file system without locks."""

    def refuse(file: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr("fcntl.flock", refuse)


def test_without_locks_of_the_system_one_process_is_admitted(
    without_flock, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(lock, "MISSED", 1000)  # however long this process has to wait for a core
    with locked(tmp_path):
        assert is_locked(tmp_path)
        assert caplog.text.count("has no locks") == 1
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} on "):
            locked(tmp_path).__enter__()
    assert not is_locked(tmp_path)
    assert not (tmp_path / lock.EXCLUSIVE).exists()
    with locked(tmp_path):
        assert is_locked(tmp_path)


def test_without_locks_of_the_system_a_dead_process_is_taken_over(without_flock, tmp_path):
    process = start_program("hold_lock", tmp_path, "without_flock")
    assert stdout_of(process).readline() == "held\n"
    process.kill()
    process.communicate()
    left = (tmp_path / lock.EXCLUSIVE).read_text()
    assert f"process {process.pid} on" in left
    with locked(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / lock.EXCLUSIVE).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock"]


def test_without_locks_of_the_system_the_slower_of_two_that_watched_puts_it_back(
    without_flock, tmp_path
):
    (tmp_path / lock.EXCLUSIVE).write_text("process 1 on dead since long, renewed 3 times\n")
    watched = os.open(tmp_path / lock.EXCLUSIVE, os.O_RDWR)
    with locked(tmp_path):  # the faster one
        held = (tmp_path / lock.EXCLUSIVE).read_text()
        slower = object.__new__(lock._Lock)
        slower._path = tmp_path / lock.EXCLUSIVE
        slower._clear_away(watched)
        assert (tmp_path / lock.EXCLUSIVE).read_text() == held
        time.sleep(0.2)  # its renewals find it their own
    os.close(watched)
    assert not is_locked(tmp_path)
