"""What a tuned sweep left, read and compared."""

import json
from pathlib import Path

from xception_jax.tracking import read_metrics


def read(home: Path) -> dict:
    return json.loads((home / "tuning.json").read_text())


def records(home: Path, folder: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(home.glob(f"{folder}/*/run.json"))]


def chosen(home: Path) -> dict[str, float]:
    return {
        arm: entry["chosen"]["optimizer.learning_rate"] for arm, entry in read(home)["arms"].items()
    }


def assert_same(one: Path, other: Path) -> None:
    """Both tuned to the same bits, and so did the verdict's runs."""
    assert read(one)["runs"] == read(other)["runs"]
    assert chosen(one) == chosen(other)
    for folder in ("tuning", "runs"):
        homes = sorted(one.glob(f"{folder}/*/"))
        assert [home.name for home in homes] == [
            home.name for home in sorted(other.glob(f"{folder}/*/"))
        ]
        for home in homes:
            there = other / folder / home.name / "metrics.jsonl"
            rows = read_metrics(home / "metrics.jsonl"), read_metrics(there)
            assert repr(rows[0]) == repr(rows[1])  # NaN, where a run diverged, is not itself
