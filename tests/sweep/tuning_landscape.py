"""Tuning that trains nothing: scores are a function of the arm and of the values that it tries."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xception_jax.checksums import has_valid_checksum
from xception_jax.config import resolve
from xception_jax.runtime import run_directory
from xception_jax.sweep import Claim, Experiment, Tune, plan_runs
from xception_jax.sweep.ledger import write_ledger
from xception_jax.sweep.tuning import tune_arms

RATE, DECAY = "optimizer.learning_rate", "optimizer.weight_decay"
RATES = (0.025, 0.05, 0.1, 0.2, 0.4)


def declare(tune: Tune, **changes: Any) -> Experiment:
    arms = {a: {"model.intermediate_activation": a} for a in ("none", "relu")}
    fields = {"arms": arms, "seeds": 4, "claims": (Claim("none", "relu"),), **changes}
    return Experiment(name="tuned", hypothesis="", base="base.py", tune=tune, **fields)


class Landscape:
    """Trains nothing: writes the record of a run whose score is a function of arm and values."""

    def __init__(self, home: Path, value: Callable[..., float | None]) -> None:
        self.home, self.value, self.calls = home, value, list[int]()

    def __call__(self, runs):
        self.calls.append(sum(self._train(run) for run in runs))
        return [run_directory.read_run(self.home / run.directory) for run in runs]

    def _train(self, run) -> bool:
        directory = self.home / run.directory
        if run_directory.read_run(directory)["status"] == "done":
            return False
        run_directory.claim(directory, run.config)
        value = self.value(run.arm, *run.point, seed=run.seed)
        status = {"status": "diverged"} if value is None else {"status": "done"}
        result = {"split": "valid", "examples": 9, "loss": 1.0, "top1": value, "top5": 1.0}
        run_directory.update_run(
            directory, id=run.id, arm=run.arm, seed=run.seed, metric="top1", classes=10,
            result=None if value is None else result, **status,
        )  # fmt: skip
        return True


def hill(center: Mapping[str, float]) -> Callable[..., float | None]:
    return lambda arm, rate, seed: 0.9 - 0.1 * abs(np.log2(rate / center[arm]))


def tuned(home: Path, experiment: Experiment, train, **how) -> tuple[Experiment, dict, list[str]]:
    said: list[str] = []
    base = resolve({})
    write_ledger(home, experiment, base, [], "sweep")
    experiment = tune_arms(home, experiment, base, train, say=said.append, **how)
    write_ledger(home, experiment, base, plan_runs(experiment, base), "sweep")
    record = json.loads((home / "tuning.json").read_text())
    assert has_valid_checksum(record)
    assert record["complete"]
    return experiment, record, said


def tried(record: dict, arm: str) -> list[tuple[float, ...]]:
    rows = [row for row in record["runs"] if row["arm"] == arm]
    return sorted({tuple(row["values"]) for row in rows})
