"""Faults of machines and people in a sweep: signals, full or read-only disks, clocks, memory."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.fault_checks import assert_undisturbed, rows
from tests.faults.small_sweep import Command, sweep_words

pytestmark = pytest.mark.slow

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
MEMORY = Path("/sys/fs/cgroup/memory")  # version 1; of version 2 it is the parent
PROCESSES = Path("/sys/fs/cgroup/pids")  # likewise


def wait_for_rows(sweep: Path, count: int, one) -> None:
    end = time.monotonic() + 600
    while rows(sweep) < count:
        assert one.process.poll() is None, one.err
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.promise(
    "A sweep that is asked to stop saves, says so and ends with 75; it can be resumed"
)
def test_sigterm(command, reference, tmp_path):
    """SIGTERM in the middle of a run."""
    sweep = tmp_path / "sweep"
    one = command(*sweep_words(sweep, "off"))
    wait_for_rows(sweep, 5, one)
    one.process.terminate()
    assert one.finish() == 75
    assert "the same command goes on from there" in one.err
    assert command(*sweep_words(sweep, "off")).finish() == 0
    assert_undisturbed(reference("off"), sweep)


@pytest.mark.promise("A second interrupt ends a sweep at once; it can still be resumed")
def test_sigint_twice(command, reference, tmp_path):
    """SIGINT twice, a moment apart."""
    sweep = tmp_path / "sweep"
    one = command(*sweep_words(sweep, "off"))
    wait_for_rows(sweep, 5, one)
    os.killpg(one.process.pid, signal.SIGINT)
    end = time.monotonic() + 60
    while one.process.poll() is None and "interrupt again" not in one.err:
        assert time.monotonic() < end
        time.sleep(0.005)
    os.killpg(one.process.pid, signal.SIGINT)
    assert one.finish() in (-signal.SIGINT, 75)  # 75: it had stopped by then
    assert command(*sweep_words(sweep, "off")).finish() == 0
    assert_undisturbed(reference("off"), sweep)


@pytest.mark.promise("The watchdog does not end a process that was suspended for a while")
def test_sigstop(command, reference, tmp_path):
    """SIGSTOP, and SIGCONT ten seconds later, with a watchdog of eight seconds."""
    sweep = tmp_path / "sweep"
    one = command(*sweep_words(sweep, "off"), "train.stuck_after_seconds=8")
    wait_for_rows(sweep, 5, one)
    one.process.send_signal(signal.SIGSTOP)
    time.sleep(10)
    one.process.send_signal(signal.SIGCONT)
    assert one.finish() == 0, one.err
    assert_undisturbed(reference("off"), sweep)


@pytest.mark.promise("A second command on a directory says who holds it and exits 2")
def test_two_at_once(command, reference, tmp_path):
    """A second `sweep` while the first is suspended; the first then ends as if alone."""
    sweep = tmp_path / "sweep"
    one = command(*sweep_words(sweep, "off"))
    wait_for_rows(sweep, 5, one)
    one.process.send_signal(signal.SIGSTOP)
    other = command(*sweep_words(sweep, "off"))
    assert other.finish() == 2
    one.process.send_signal(signal.SIGCONT)
    assert f"is in use by process {one.process.pid} on " in other.err
    assert len(other.err.splitlines()) == 1
    assert one.finish() == 0, one.err
    assert_undisturbed(reference("off"), sweep)


@pytest.fixture
def tmpfs(tmp_path) -> Iterator[Path]:
    """A file system of its own, 3 MiB; `mount -o remount,…` changes it."""
    place = tmp_path / "tmpfs"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "faults", place], check=False)
    if made.returncode:
        pytest.skip("only root can mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def assert_ends_for_lack_of_space(one: Command) -> None:
    assert one.finish() == 1, one.err
    said = one.out + one.err
    assert "No space left on device" in said, said  # the system's words also for want of inodes
    assert len(one.err.splitlines()) <= 1, one.err


@pytest.mark.promise(
    "A full disk ends a sweep with one line and exit 1; with space it can be resumed"
)
def test_disk_full(command, reference, tmpfs, record_property):
    """A file system of three sizes too small for the sweep, then of one large enough."""
    sweep = tmpfs / "sweep"
    pages = sum(-(-path.stat().st_size // 4096) for path in reference("off").rglob("*"))
    for share in (0.02, 0.4, 0.8):
        remount(tmpfs, f"size={max(10, int(share * pages)) * 4}k")
        assert_ends_for_lack_of_space(command(*sweep_words(sweep, "off")))
    remount(tmpfs, "size=200m")
    assert command(*sweep_words(sweep, "off")).finish() == 0
    assert_undisturbed(reference("off"), sweep)
    record_property("times", 3)


@pytest.mark.promise(
    "A full disk ends a sweep with one line and exit 1; with space it can be resumed"
)
def test_no_files_left(command, reference, tmpfs, record_property):
    """A file system with space that runs out of inodes, at six numbers of them."""
    sweep = tmpfs / "sweep"
    entries = len(list(reference("off").rglob("*")))
    numbers = [max(8, int(share * entries)) for share in (0, 0.05, 0.1, 0.2, 0.5, 0.8)]
    for number in numbers:
        remount(tmpfs, f"size=200m,nr_inodes={number}")
        assert_ends_for_lack_of_space(command(*sweep_words(sweep, "off")))
    remount(tmpfs, "nr_inodes=100000")
    assert command(*sweep_words(sweep, "off")).finish() == 0
    assert_undisturbed(reference("off"), sweep)
    record_property("times", len(numbers))


@pytest.mark.promise("Sweeps that share a cache of programs survive each other's kills")
def test_two_sweeps_on_one_cache(command, reference, tmp_path, record_property):
    """Two sweeps start on an empty cache; one is killed (-9) at a random moment, three times."""
    times, rng = 3, random.Random(5)
    for number in range(times):
        cache = {"XDG_CACHE_HOME": str(tmp_path / f"cache-{number}")}
        killed, other = (tmp_path / f"{number}-{name}" for name in ("killed", "other"))
        victim = command(*sweep_words(killed, "off"), **cache)
        beside = command(*sweep_words(other, "off"), **cache)
        time.sleep(rng.uniform(4, 12))
        assert victim.process.poll() is None, "it ended before it was killed"
        victim.kill()
        assert beside.finish() == 0, beside.err
        again = command(*sweep_words(killed, "off"), **cache)
        assert again.finish() == 0, again.err
        for sweep in (killed, other):
            assert_undisturbed(reference("off"), sweep)
    record_property("times", times)


@pytest.mark.promise("A directory that cannot be written is refused in one line, before any work")
def test_read_only(command, tmpfs):
    """`sweep` on a file system that is mounted read-only."""
    remount(tmpfs, "ro")
    one = command(*sweep_words(tmpfs / "sweep", "off"))
    assert one.finish() == 2
    assert len(one.err.splitlines()) == 1
    assert "cannot be written" in one.err
    remount(tmpfs, "rw")
    assert list(tmpfs.iterdir()) == []


@pytest.mark.promise("A clock that jumps forward or back changes no result")
def test_clock_jump(command, reference, tmp_path, record_property):
    """libfaketime: two days forward in one run, a day back in the next.

    TensorStore waits by the clock. If the clock is set back during a write, the checkpoint does not
    end, the watchdog ends the process with 70, and the same command resumes the sweep.
    """
    if FAKETIME is None:
        pytest.skip("libfaketime is not installed")
    sweep, clock = tmp_path / "sweep", tmp_path / "clock"
    clock.write_text("+0\n")
    one = command(
        *sweep_words(sweep, "off"),
        "train.stuck_after_seconds=20",
        LD_PRELOAD=str(FAKETIME),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    for count, jump in ((5, "+2d"), (30, "-1d")):
        wait_for_rows(sweep, count, one)
        clock.write_text(f"{jump}\n")
    if (code := one.finish()) != 0:
        assert code == 70, one.err
        assert command(*sweep_words(sweep, "off")).finish() == 0
    assert_undisturbed(reference("off"), sweep)
    record_property("times", 2)


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A control group of 300 MiB: more than JAX needs to begin, less than to train."""
    parent = MEMORY if MEMORY.is_dir() else MEMORY.parent
    limit = "memory.limit_in_bytes" if MEMORY.is_dir() else "memory.max"
    group = parent / f"xception-jax-faults-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(300 << 20))
    except OSError as error:
        pytest.skip(f"no control group can be made: {error.strerror}")
    yield group
    group.rmdir()


@pytest.fixture
def few_processes() -> Iterator[Path]:
    """A control group whose processes and threads are limited by `pids.max`."""
    parent = PROCESSES if PROCESSES.is_dir() else PROCESSES.parent
    group = parent / f"xception-jax-faults-{os.getpid()}"
    try:
        group.mkdir()
        (group / "pids.max").write_text("1000")
    except OSError as error:
        pytest.skip(f"no control group can be made: {error.strerror}")
    yield group
    group.rmdir()


@pytest.mark.promise("A limit of processes and threads that is too low is named in one line")
def test_few_processes(command, few_processes, tmp_path, record_property):
    """`sweep` in a control group that allows 2, 8, 16 and 30 of them, and then enough."""
    sweep, limits = tmp_path / "sweep", (2, 8, 16, 30)
    for limit in limits:
        (few_processes / "pids.max").write_text(str(limit))
        one = command(*sweep_words(sweep, "off"), group=few_processes)
        assert one.finish() == 2, one.err
        (line,) = one.err.splitlines()
        assert line.startswith("xception-jax: threads=")
        assert "ulimit -u" in line
        assert not sweep.exists()
    (few_processes / "pids.max").write_text("1000")
    one = command(*sweep_words(sweep, "off"), group=few_processes)
    assert one.finish() == 0, one.err
    record_property("times", len(limits))


def wrong_clock(year: int) -> dict[str, str]:
    """The environment of a process whose clock shows that year at its start.

    Without libfaketime only Python's clock is wrong.
    """
    start = datetime(year, 1, 2, tzinfo=UTC)
    if FAKETIME is not None:
        clock = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"@{start:%Y-%m-%d %H:%M:%S}"}
        return clock | {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    folder = Path(__file__).parents[1] / "programs" / "wrong_clock"
    paths = (str(folder), os.environ.get("PYTHONPATH", ""))
    offset = int(start.timestamp() - time.time())
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "WRONG_CLOCK": str(offset)}


@pytest.mark.promise("A clock that is decades wrong at the start changes no result")
@pytest.mark.parametrize("year", [1970, 2100, 2120])
def test_a_clock_far_away(year, command, reference, tmp_path):
    """A sweep in 1970, 2100 and 2120 (zip files have dates from 1980 to 2107), and its report."""
    sweep, clock = tmp_path / "sweep", wrong_clock(year)
    one = command(*sweep_words(sweep, "off"), **clock)
    assert one.finish() == 0, one.err
    assert_undisturbed(reference("off"), sweep)
    record = next(sweep.glob("runs/*/run.json"))
    assert json.loads(record.read_text())["started"].startswith(str(year))
    assert command("report", sweep, **clock).finish() == 0
    for words in (("audit",), ("status",), ("report",)):  # by a clock that is right again
        assert command(*words, sweep).finish() == 0
    # As after a battery ran empty: what is there has times of the future, or of long ago.
    again = command(*sweep_words(sweep, "off"), **wrong_clock(1970 if year > 1970 else 2100))
    assert again.finish() == 0, again.err
    assert_undisturbed(reference("off"), sweep)


@pytest.mark.promise("A sweep that the system kills for lack of memory can be resumed with more")
def test_out_of_memory(command, reference, small_memory, tmp_path):
    """The kernel kills the sweep in a control group; then the same command runs outside it."""
    sweep = tmp_path / "sweep"
    one = command(*sweep_words(sweep, "off"))
    (small_memory / "cgroup.procs").write_text(str(one.process.pid))
    assert one.finish() == -signal.SIGKILL
    assert command(*sweep_words(sweep, "off")).finish() == 0
    assert_undisturbed(reference("off"), sweep)
