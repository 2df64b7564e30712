"""How a process that computes is set up."""

import itertools
import os
import platform
import sys
import threading
from types import SimpleNamespace

import pytest

from tests.programs import run_program
from xception_jax.commands.process import prepare_jax
from xception_jax.errors import InputError
from xception_jax.runtime import allocator
from xception_jax.runtime.allocator import keep_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc's allocator")
@pytest.mark.parametrize(("asked", "kept"), [(None, True), ("keep", True), ("system", False)])
def test_freed_memory_is_kept_unless_told_otherwise(asked, kept, monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("XCEPTION_JAX_ALLOCATOR", raising=False)
    told = {} if asked is None else {"XCEPTION_JAX_ALLOCATOR": asked}
    done = run_program("free_memory", **told)
    assert done.returncode == 0, done.stderr
    said, megabytes = done.stdout.split()
    assert said == str(kept)
    assert (int(megabytes) > 150) == kept


def test_another_allocator_is_refused(monkeypatch):
    monkeypatch.setenv("XCEPTION_JAX_ALLOCATOR", "systen")
    with pytest.raises(InputError, match=r"XCEPTION_JAX_ALLOCATOR='systen'.*'system'"):
        keep_memory()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc's allocator")
@pytest.mark.parametrize("asked", ["keep", "system"])
def test_steps_use_no_gap_that_a_compilation_leaves_but_long_pieces(asked):
    done = run_program("use_gaps", asked)
    assert done.returncode == 0, done.stderr
    short, whole, held = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    if asked == "keep":
        within = ("True", "True", "False", "True", "False", "True", "True", "False")
        assert short == within
        assert held == ("False", "False", "True", "False", "True", "False", "False", "True")
        assert set(whole) == {"True"}
    else:  # where pieces come to lie is glibc's affair: it maps long ones by default
        assert set(held) == {"False"}


def test_compilations_end_on_a_glibc_without_statistics_of_its_heap(monkeypatch):
    older = SimpleNamespace(
        malloc=SimpleNamespace(), free=SimpleNamespace(), sbrk=SimpleNamespace()
    )
    monkeypatch.setattr("ctypes.CDLL", lambda _: older)
    monkeypatch.setattr(allocator, "_heap", allocator._Heap())
    monkeypatch.setattr(allocator._heap, "kept", True)
    with allocator.without_gaps():
        pass
    assert not allocator._heap._gaps


@pytest.mark.skipif(sys.platform != "linux", reason="how many cores there are is found otherwise")
def test_packs_are_spread_over_cores_and_a_run_alone_has_all_threads():
    slots = ("none", 1, 2, 4, 5, 7, 9, 12)
    done = run_program("meshes_of_packs", *slots, XLA_FLAGS="")
    assert done.returncode == 0, done.stderr
    count, *meshes = done.stdout.splitlines()
    assert count == "6 6"
    assert meshes == ["None 1 1 0", "1 1 1 0", "2 2 1 0", "4 4 1 0", "5 5 1 0", "7 1 1 0",
                      "9 3 1 0", "12 6 1 0"]  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [{"JAX_NUM_CPU_DEVICES": "1"}, {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}],
)
def test_who_says_how_many_devices_a_cpu_is_is_obeyed(told):
    done = run_program("meshes_of_packs", "none", 2, **({"XLA_FLAGS": ""} | told))
    assert done.returncode == 0, done.stderr
    devices = 1 if "JAX_NUM_CPU_DEVICES" in told else 4
    alone, pack = (1, devices), (min(2, devices), max(1, devices // 2))
    assert done.stdout.splitlines() == [
        f"{devices} 1",
        f"None {alone[0]} {alone[1]} 0",
        f"2 {pack[0]} {pack[1]} 0",
    ]


def test_too_few_threads_are_named_before_jax_starts_its_own(monkeypatch):
    start, before, started = threading.Thread.start, set(threading.enumerate()), itertools.count()

    def start_while_allowed(thread):
        if next(started) >= 7:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_while_allowed)
    with pytest.raises(InputError, match=r"^threads=7: .* needs about \d+; raise `ulimit -u`"):
        prepare_jax()
    assert not set(threading.enumerate()) - before
    monkeypatch.undo()
    prepare_jax()
    assert not set(threading.enumerate()) - before
