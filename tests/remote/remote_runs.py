"""What a store has of a run, and how commands ended."""

import subprocess
import time
from pathlib import Path

from tests.same_run import assert_same_run
from xception_jax.errors import InputError
from xception_jax.remote import copied
from xception_jax.tracking import read_metrics


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def rows_in(bucket: str) -> int:
    with copied(Path(bucket)) as here:
        return len(read_metrics(here / "metrics.jsonl"))


def wait_for_rows(bucket: str, count: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + 300
    while True:
        assert process.poll() is None, finish(process)
        assert time.monotonic() < end
        try:
            if rows_in(bucket) >= count:
                return
        except (InputError, OSError):  # not there yet, or between two generations
            pass
        time.sleep(0.1)


def assert_is_as(whole: Path, bucket: str) -> None:
    with copied(Path(bucket), checkpoints=True) as here:
        assert (here / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
        assert_same_run(whole, here)
        steps = [sorted(p.name for p in (home / "checkpoints").iterdir()) for home in (whole, here)]
        assert steps[0] == steps[1]  # those that were thrown away here are gone there, too
