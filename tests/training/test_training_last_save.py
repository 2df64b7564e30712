"""The disk fails for the last save alone: the run has failed, and the same command mends it."""

import json
import resource
import threading
import time

import pytest

from tests.same_run import assert_same_run
from tests.shrunk import CONFIG, EXPERIMENT, SHRUNK
from xception_jax.training.checkpoint import Checkpoints
from xception_jax.training.run_writer import RunWriter

LAST = 9


@pytest.fixture
def full_disk(monkeypatch):
    """`full_disk(until)`: from the last save on, no file may grow.

    Orbax writes in the background. "predictions": there is space again once that has failed, so
    that all else succeeds; "end": there is none.
    """
    save, write = Checkpoints.save, RunWriter.write_predictions
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_the_last_in_vain(self, step, *arguments):
        if step == LAST:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        save(self, step, *arguments)

    def write_with_space(self, *arguments):
        end = time.monotonic() + 60
        while any("finalize" in thread.name for thread in threading.enumerate()):
            if time.monotonic() > end:  # no Exception, which would count as the run's
                pytest.fail("Orbax has not ended its save")
            time.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        write(self, *arguments)

    def full_disk(until):
        monkeypatch.setattr(Checkpoints, "save", save_the_last_in_vain)
        if until == "predictions":
            monkeypatch.setattr(RunWriter, "write_predictions", write_with_space)

    yield full_disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def space(monkeypatch):
    """Ends what `full_disk` began."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def space():
        monkeypatch.undo()
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return space


@pytest.mark.parametrize("until", [pytest.param("predictions", marks=pytest.mark.slow), "end"])
def test_the_last_save_fails(until, full_disk, space, call, tmp_path):
    words = ("train", CONFIG, "--workdir", tmp_path / "run", *SHRUNK)
    full_disk(until)
    code, out, err = call(*words)
    space()
    assert (code, "done" in out) == (1, False), out
    (line,) = err.splitlines()
    assert line.startswith("the run failed: ")
    status = json.loads((tmp_path / "run" / "run.json").read_text())["status"]
    assert status == "failed" if until == "predictions" else status == "running"
    assert call(*words)[0] == 0
    assert call("train", CONFIG, "--workdir", tmp_path / "undisturbed", *SHRUNK)[0] == 0
    assert_same_run(tmp_path / "undisturbed", tmp_path / "run")


@pytest.mark.slow
def test_the_last_save_of_a_pack_fails(full_disk, space, call, tmp_path):
    words = ("sweep", EXPERIMENT, "--workdir", tmp_path, "--seeds", 1, "--packing", 3, *SHRUNK)
    full_disk("predictions")
    code, out, err = call(*words)
    space()
    assert code == 1, err
    assert "3 failed" in out
    assert "done" not in out
    code, out, err = call(*words)
    assert code == 0, err
    assert "3 done" in out
