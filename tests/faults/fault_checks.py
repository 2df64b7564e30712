"""Checks of a sweep that has ended, whatever happened to it on the way."""

import json
from pathlib import Path

from tests.same_run import assert_same_run
from xception_jax.tracking import read_metrics


def run_dirs(sweep: Path) -> list[Path]:
    """The directories of a sweep's runs, in its order; empty before it is recorded."""
    path = sweep / "sweep.json"
    if not path.exists():
        return []
    return [sweep / row["directory"] for row in json.loads(path.read_text())["runs"]]


def last_steps(sweep: Path) -> dict[str, int]:
    """The newest step in the log of each run that has not ended."""
    found = {}
    for home in run_dirs(sweep):
        path = home / "metrics.jsonl"
        if path.exists() and not has_ended(home):
            found[home.name] = max((row["step"] for row in read_metrics(path)), default=0)
    return found


def has_ended(home: Path) -> bool:
    path = home / "run.json"
    return path.exists() and json.loads(path.read_text())["status"] == "done"


def rows(sweep: Path) -> int:
    """The number of rows in all logs of a sweep."""
    files = (home / "metrics.jsonl" for home in run_dirs(sweep))
    return sum(path.read_bytes().count(b"\n") for path in files if path.exists())


def resumed(sweep: Path) -> dict[str, list[int]]:
    """The steps each run has gone on from."""
    files = {home.name: home / "run.json" for home in run_dirs(sweep)}
    return {
        name: json.loads(path.read_text()).get("resumed_from", [])
        for name, path in files.items()
        if path.exists()
    }


def leftovers(sweep: Path) -> list[str]:
    """Temporary files of any kind."""
    marks = (".partial", ".tmp", "checkpoint-tmp")
    return [str(p) for p in sweep.rglob("*") if any(mark in p.name for mark in marks)]


def assert_undisturbed(expected: Path, sweep: Path) -> None:
    """The same curves, final states and predictions, bit for bit; nothing temporary is left."""
    assert len(run_dirs(expected)) == len(run_dirs(sweep)) == 3
    for one, other in zip(run_dirs(expected), run_dirs(sweep), strict=True):
        assert has_ended(other)
        assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
        assert_same_run(one, other)
    assert leftovers(sweep) == []
