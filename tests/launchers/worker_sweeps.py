"""Sweeps in worker processes for the tests of launchers: start, watch, kill, compare."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.programs import command_line
from tests.shrunk import SHRUNK, SIXTY_STEPS
from xception_jax.tracking import read_metrics

EXPERIMENT = Path(__file__).with_name("rates.py")


def words(home: Path, *more: str) -> list[str]:
    """The command of a sweep of three runs of 9 steps, or 60 with the words of SIXTY_STEPS."""
    fixed = ("--seeds", "1", "--packing", "off")
    return ["sweep", str(EXPERIMENT), "--workdir", str(home), *fixed, *SHRUNK, *more]


def start_sweep(home: Path, *more: str, **environment: str) -> subprocess.Popen:
    """Starts a sweep of long runs as a process whose standard error goes to its output."""
    return subprocess.Popen(
        command_line(*words(home, *SIXTY_STEPS, *more)),
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    out, _ = process.communicate(timeout=400)
    return process.returncode, out


def run_dirs(sweep: Path) -> dict[str, Path]:
    rows = json.loads((sweep / "sweep.json").read_text())["runs"]
    return {f"{row['arm']}-s{row['seed']}": sweep / row["directory"] for row in rows}


def record(home: Path) -> dict:
    return json.loads((home / "run.json").read_text())


def in_the_middle(sweep: Path, runs: int = 1) -> bool:
    """Whether at least `runs` runs are past their first checkpoint and have not ended."""
    active = [
        run_dir
        for run_dir in sweep.glob("runs/*")
        if (run_dir / "run.json").exists()
        and record(run_dir)["status"] == "running"
        and (run_dir / "metrics.jsonl").exists()
        and len(read_metrics(run_dir / "metrics.jsonl")) > 8
    ]
    return len(active) >= runs


def workers(sweep: Path) -> Iterator[int]:
    """Ids of a sweep's worker processes on this machine."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if "--unit" in command and str(sweep / "sweep.json") in command:
                yield int(entry.name)


def kill_one(sweep: Path) -> None:
    os.kill(next(workers(sweep)), signal.SIGKILL)


def assert_done_as(whole: Path, sweep: Path) -> None:
    """Fails unless every run is done, with the curve of the uninterrupted sweep `whole`."""
    for name, expected in run_dirs(whole).items():
        actual = run_dirs(sweep)[name]
        assert record(actual)["status"] == "done"
        assert read_metrics(actual / "metrics.jsonl") == read_metrics(expected / "metrics.jsonl")
        for file in ("pairing.json", "config.json"):
            assert (actual / file).read_bytes() == (expected / file).read_bytes()
    assert not list(workers(sweep))
