"""The watchdog alone: it ends a process that hangs and leaves every other one alone."""

import subprocess
import sys

import pytest

from xception_jax.runtime import watchdog

# By its file: the package would import JAX.
ALIVE = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("watchdog", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
Watchdog = module.Watchdog
def record(reason, stacks):
    print(reason, "\\n", stacks, flush=True)
with Watchdog({seconds}, record) as watchdog:
    for number in range(6):
        watchdog.alive("count", usual=0.01)
        time.sleep(0.3)
    print("alive", flush=True)
    time.sleep({nap})
print("over")
"""


@pytest.fixture(scope="module")
def watch():
    def watch(seconds, nap) -> tuple[int, str]:
        program = ALIVE.format(seconds=seconds, nap=nap)
        done = subprocess.run(
            [sys.executable, "-c", program, watchdog.__file__],
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout

    return watch


def test_it_ends_a_process_in_which_nothing_ends(watch):
    code, out = watch(1.5, 1000)
    assert code == 70
    assert out.startswith("alive\nstuck: nothing ended in 2 s (count)")
    assert "time.sleep" in out or "<string>" in out
    assert "over" not in out


@pytest.mark.parametrize(("seconds", "nap"), [(1000, 0.1), (None, 2)])
def test_it_leaves_others_alone(seconds, nap, watch):
    assert watch(seconds, nap) == (0, "alive\nover\n")
