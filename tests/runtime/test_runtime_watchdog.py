"""The watchdog alone: it ends a process that hangs and leaves every other one alone."""

import pytest

from tests.programs import run_program


@pytest.fixture(scope="module")
def watch():
    def watch(seconds, nap) -> tuple[int, str]:
        done = run_program("nap_under_watch", seconds, nap)
        return done.returncode, done.stdout

    return watch


def test_it_ends_a_process_in_which_nothing_ends(watch):
    code, out = watch(1.5, 1000)
    assert code == 70
    assert out.startswith("alive\nstuck: nothing ended in 2 s (count)")
    assert "nap_under_watch.py" in out
    assert "time.sleep" in out
    assert "over" not in out


@pytest.mark.parametrize(("seconds", "nap"), [(1000, 0.1), ("none", 2)])
def test_it_leaves_others_alone(seconds, nap, watch):
    assert watch(seconds, nap) == (0, "alive\nover\n")
