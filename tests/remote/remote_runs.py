"""Helpers for runs in a store: how a command ended, and what the store has of its run."""

import subprocess
import time
from pathlib import Path

from tests.same_run import assert_same_run
from xception_jax.errors import InputError
from xception_jax.remote import copied
from xception_jax.tracking import read_metrics

# With these the shrunk config trains for long enough to be killed on its way.
LONG = ("train.epochs=40", "train.evaluate_every_epochs=2", "checkpoint.every_epochs=2")


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    """Waits for a command; returns its exit code, standard output and standard error."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def count_rows(url: str) -> int:
    """The number of metric rows that the store has of a run."""
    with copied(Path(url)) as run_dir:
        return len(read_metrics(run_dir / "metrics.jsonl"))


def wait_for_rows(url: str, count: int, process: subprocess.Popen) -> None:
    """Waits until the store has `count` metric rows of the run that `process` trains."""
    deadline = time.monotonic() + 300
    while True:
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        try:
            if count_rows(url) >= count:
                return
        except (InputError, OSError):  # nothing uploaded yet, or just being replaced
            pass
        time.sleep(0.1)


def assert_same_as_local(local: Path, url: str) -> None:
    """Asserts that a run in a store has the same log, results and checkpoints as a local one."""
    with copied(Path(url), checkpoints=True) as copy:
        assert (copy / "metrics.jsonl").read_bytes() == (local / "metrics.jsonl").read_bytes()
        assert_same_run(local, copy)
        # The checkpoints that the run deleted on its machine are deleted in the store, too.
        assert _checkpoint_names(local) == _checkpoint_names(copy)


def _checkpoint_names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())
