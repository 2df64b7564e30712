"""How a process that computes is set up."""

import os
import platform
import subprocess
import sys

import pytest

from xception_jax.errors import InputError
from xception_jax.runtime.allocator import keep_memory

PROGRAM = """
from pathlib import Path
from xception_jax.runtime.allocator import keep_memory

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

print(keep_memory())
before = megabytes()
block = bytearray(200 << 20)
del block
print(megabytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc's allocator")
@pytest.mark.parametrize(("asked", "kept"), [(None, True), ("keep", True), ("system", False)])
def test_freed_memory_is_kept_unless_told_otherwise(asked, kept):
    variables = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    variables.pop("XCEPTION_JAX_ALLOCATOR", None)
    if asked is not None:
        variables["XCEPTION_JAX_ALLOCATOR"] = asked
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, check=True
    )
    said, megabytes = done.stdout.split()
    assert said == str(kept)
    assert (int(megabytes) > 150) == kept


def test_another_allocator_is_refused(monkeypatch):
    monkeypatch.setenv("XCEPTION_JAX_ALLOCATOR", "systen")
    with pytest.raises(InputError, match=r"XCEPTION_JAX_ALLOCATOR='systen'.*'system'"):
        keep_memory()


GAPS = """
import sys
from xception_jax import allocator

if sys.argv[1] == "keep":
    assert allocator.keep_memory()
library = allocator._library()
pieces = [library.malloc(6000) for _ in range(2000)]
long = library.malloc(8 << 20)
guard = library.malloc(6000)
for piece in pieces[::2]:
    library.free(piece)
library.free(long)


def within(length, first, last):
    piece = library.malloc(length)
    library.free(piece)
    return first <= piece <= last


def shown():
    short, whole = within(4000, pieces[0], pieces[-1]), within(7 << 20, long, long + (1 << 20))
    print(short, whole, flush=True)


shown()
with allocator.without_gaps():
    shown()
shown()
with allocator.without_gaps():
    shown()
shown()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc's allocator")
@pytest.mark.parametrize("asked", ["keep", "system"])
def test_steps_use_no_gap_that_a_compilation_leaves_but_long_pieces(asked):
    done = subprocess.run(
        [sys.executable, "-c", GAPS, asked], capture_output=True, text=True, check=True
    )
    short, whole = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    outside = str(asked == "system")
    assert short == ("True", "True", outside, "True", outside)
    if asked == "keep":  # by default, glibc maps long pieces
        assert set(whole) == {"True"}


CORES = """
import os
os.sched_getaffinity = lambda _: range(6)
from xception_jax.commands.process import prepare_jax
prepare_jax(packs=True)
import jax
from xception_jax.training.sharding import devices_of_packs, make_mesh
print(jax.device_count(), devices_of_packs())
for slots in (None, 1, 2, 4, 5, 7, 9, 12):
    print(slots, *make_mesh(slots=slots).shape.values(), make_mesh(slots=slots).devices[0, 0].id)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="how many cores there are is found otherwise")
def test_packs_are_spread_over_cores_and_a_run_alone_has_all_threads():
    environment = os.environ | {"XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", CORES], env=environment, capture_output=True, text=True, check=True
    )
    count, *meshes = done.stdout.splitlines()
    assert count == "6 6"
    assert meshes == ["None 1 1 0", "1 1 1 0", "2 2 1 0", "4 4 1 0", "5 5 1 0", "7 1 1 0",
                      "9 3 1 0", "12 6 1 0"]  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [{"JAX_NUM_CPU_DEVICES": "1"}, {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}],
)
def test_who_says_how_many_devices_a_cpu_is_is_obeyed(told):
    environment = os.environ | {"XLA_FLAGS": ""} | told
    done = subprocess.run(
        [sys.executable, "-c", CORES.replace("None, 1, 2, 4, 5, 7, 9, 12", "None, 2")],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    devices = 1 if "JAX_NUM_CPU_DEVICES" in told else 4
    alone, pack = (1, devices), (min(2, devices), max(1, devices // 2))
    assert done.stdout.splitlines() == [
        f"{devices} 1",
        f"None {alone[0]} {alone[1]} 0",
        f"2 {pack[0]} {pack[1]} 0",
    ]
