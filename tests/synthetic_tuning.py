"""Adds a tuning whose outcome is known to a synthetic sweep, as `sweep` would leave it on disk."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.synthetic_sweep import (
    DECLARED,
    STEPS,
    SweepWriter,
    edit_sweep,
    pairing,
    saturating,
    write_run,
)
from xception_jax.checksums import with_checksum
from xception_jax.statistics.selection import best_point, grid_of, mean_score

RATE = "optimizer.learning_rate"
RATES = (0.025, 0.05, 0.1, 0.2, 0.4)
PEAKS = {"none": 0.1, "relu": 0.2}
HIGHEST = 2_000_000_000
CLEAN = {"begun": 0, "results": 0, "reported": False}

Scores = Mapping[str, Mapping[tuple[float, ...], Sequence[float | None]]]


def add_tuning(
    sweep: SweepWriter,
    scores: Scores,
    *,
    settings: Sequence[str] = (RATE,),
    at_edge: Mapping[str, Mapping[str, str]] = {},
    known: Mapping[str, Mapping[str, Any]] = {},
) -> dict[str, Any]:
    """Writes the tuning runs, `tuning.json`, and what `sweep.json` says of them.

    Args:
        sweep: a sweep without runs yet: arms that are tuned get what is chosen.
        scores: validation accuracies of the seeds, by arm and point; None: that run diverged.
        settings: dotted names of the tuned settings.
        at_edge: for each arm the edges at which its choice lies.
        known: for each arm what was known of the verdict's runs when it was tuned.

    Returns:
        The record.
    """
    grid = grid_of(next(iter(scores.values())))
    count = len(next(iter(next(iter(scores.values())).values())))
    seeds = [HIGHEST - number for number in range(count)]
    tune = {
        "settings": list(settings),
        "values": [list(values) for values in grid],
        "seeds": count,
        "epochs": None,
    }
    rows: list[dict[str, Any]] = []
    arms: dict[str, dict[str, Any]] = {}
    for arm, of_arm in scores.items():
        values = {p: [0.1 if v is None else v for v in of_point] for p, of_point in of_arm.items()}
        best = best_point(values)
        arms[arm] = {
            "chosen": dict(zip(settings, best, strict=True)),
            "mean": mean_score(values[best]),
            "at_edge": dict(at_edge.get(arm, {})),
            "at": DECLARED,
            "known": dict(known.get(arm, CLEAN)),
        }
        for point, of_point in of_arm.items():
            for seed, value in zip(seeds, of_point, strict=True):
                rows.append(
                    _add_run(sweep, arm, dict(zip(settings, point, strict=True)), seed, value)
                )
    record = with_checksum(
        {
            "schema": 1, "tune": tune, "seeds": seeds, "grid": [list(v) for v in grid],
            "arms": arms, "runs": rows, "complete": True,
        }
    )  # fmt: skip
    write_record(sweep.directory, record)
    chosen = {
        arm: {**own, **arms.get(arm, {}).get("chosen", {})} for arm, own in sweep.arms.items()
    }
    sweep.arms = chosen

    def change(content: dict[str, Any]) -> None:
        content["experiment"] |= {"tune": tune, "tuned": record, "arms": chosen}
        content["tuned_elsewhere"] = False

    edit_sweep(sweep.directory, change)
    return record


def _add_run(
    sweep: SweepWriter, arm: str, settings: dict[str, float], seed: int, value: float | None
) -> dict[str, Any]:
    point = list(settings.values())
    name = "-".join([arm, *(f"{each:g}" for each in point), f"s{seed}"])
    digest = hashlib.sha256(name.encode()).hexdigest()
    path = sweep.directory / "tuning" / f"{name}-{digest[:8]}"
    path.mkdir(parents=True)
    entry = {"arm": arm, "seed": seed, "id": digest}
    result = {"split": "valid", "loss": 0.5, "top1": value, "top5": 0.99, "examples": 1200}
    status = "diverged" if value is None else "done"
    write_run(path, entry, status=status, test_top1=None, result=None if value is None else result)
    config = json.loads((path / "config.json").read_text())
    config["optimizer"] = {n.partition(".")[2]: v for n, v in settings.items()}
    (path / "config.json").write_text(json.dumps(config))
    (path / "pairing.json").write_text(json.dumps(pairing(seed)))
    return {
        **entry, "settings": settings, "values": point, "extension": 0, "metric": "top1",
        "directory": f"tuning/{path.name}", "status": status,
        "score": 0.1 if value is None else value,
    }  # fmt: skip


def write_record(directory: Path, record: Mapping[str, Any]) -> None:
    (directory / "tuning.json").write_text(json.dumps(record))


def hill(peak: float) -> dict[tuple[float, ...], list[float | None]]:
    """Scores of two seeds that are best at `peak`."""
    top = {rate: 0.9 - 0.05 * abs(np.log2(rate / peak)) for rate in RATES}
    return {(rate,): [top[rate], round(top[rate] + 0.01, 4)] for rate in RATES}


def fill(sweep: SweepWriter, gain: float = 0.03) -> None:
    """Verdict runs in which `none` is better by `gain`."""
    for arm in sweep.arms:
        for seed in sweep.seeds:
            final = 0.85 + gain * (arm == "none") + 0.001 * seed * (1 if arm == "none" else -1)
            path = sweep.add_run(
                arm, seed, steps=STEPS, top1=saturating(final), test_top1=final,
                started="2025-01-02T03:14:05+00:00", ended="2025-01-02T03:15:05+00:00",
            )  # fmt: skip
            config = json.loads((path / "config.json").read_text())
            config["optimizer"] = {"learning_rate": sweep.arms[arm].get(RATE)}
            (path / "config.json").write_text(json.dumps(config))
