"""Synthetic sweep directories whose numbers are known, as a sweep would leave them on disk."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xception_jax.checksums import digest, with_checksum
from xception_jax.sweep.declarations import Known, with_declaration

DECLARED = "2025-01-02T03:04:05+00:00"  # when the runs begin, too
VERSIONS = {"jax": "0.10.2", "xception-jax": "0.1.0"}

DATA = {
    "method": "pixels",
    "classes": "c" * 64,
    "splits": {
        split: {"examples": count, "images": f"{count:064}", "labels": f"{count + 1:064}"}
        for split, count in (("train", 10800), ("valid", 1200), ("test", 2000))
    },
    "repeated": [],
    "notes": [],
}
CODE = {
    "package": "d" * 64,
    "files": {"experiments/mine.py": "e" * 64, "configs/mini.py": "f" * 64},
    "changes": None,
}


@dataclass
class SweepWriter:
    """Writes a sweep directory piece by piece."""

    directory: Path
    name: str = "nonlinearity"
    hypothesis: str = "No activation between the two operations is best."
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seeds: Sequence[int] = (0, 1, 2)
    claims: Sequence[Any] = ()
    looks: Sequence[int] = ()
    spending: str = "obrien_fleming"

    def __post_init__(self) -> None:
        self.runs = [self._entry(arm, seed) for arm in self.arms for seed in self.seeds]
        self.directory.mkdir(parents=True, exist_ok=True)
        looks = {"looks": list(self.looks), "spending": self.spending} if self.looks else {}
        sweep = {
            "schema": 1,
            "experiment": {
                "name": self.name,
                "hypothesis": self.hypothesis,
                "base": "configs/fashion_mnist_mini.py",
                "arms": self.arms,
                "seeds": list(self.seeds),
                "claims": list(self.claims),
                "reference": "paper section 4.7, figure 10",
                **looks,
            },
            "claims_sha256": digest(list(self.claims)),
            "post_hoc_claims": [],
            "declarations": with_declaration(
                [],
                seeds=list(self.seeds),
                arms=list(self.arms),
                claims=list(self.claims),
                known=Known(),
                command="xception-jax sweep experiments/nonlinearity.py --workdir W",
                at=DECLARED,
                looks=looks,
            ),
            "runs": self.runs,
            "command": "xception-jax sweep experiments/nonlinearity.py --workdir W",
            "created": DECLARED,
            "versions": VERSIONS,
            "commit": "0123456789abcdef0123456789abcdef01234567",
        }
        (self.directory / "sweep.json").write_text(json.dumps(sweep))

    @staticmethod
    def _entry(arm: str, seed: int) -> dict[str, Any]:
        digest = hashlib.sha256(f"{arm} {seed}".encode()).hexdigest()
        slug = "".join(c if c.isalnum() else "_" for c in arm)[:40]
        return {
            "arm": arm,
            "seed": seed,
            "id": digest,
            "directory": f"runs/{slug}-s{seed}-{digest[:8]}",
        }

    def run_directory(self, arm: str, seed: int) -> Path:
        entry = next(e for e in self.runs if (e["arm"], e["seed"]) == (arm, seed))
        path = self.directory / entry["directory"]
        path.mkdir(parents=True, exist_ok=True)
        return path

    def add_run(
        self,
        arm: str,
        seed: int,
        *,
        status: str = "done",
        steps: Sequence[int] = (),
        top1: Sequence[float] = (),
        loss: Sequence[float] | None = None,
        test_top1: float | None = None,
        **changes: Any,
    ) -> Path:
        """Writes config.json, run.json and metrics.jsonl of one run."""
        entry = next(e for e in self.runs if (e["arm"], e["seed"]) == (arm, seed))
        path = self.run_directory(arm, seed)
        write_run(
            path, entry, _nested(self.arms[arm]), status=status, test_top1=test_top1, **changes
        )
        (path / "pairing.json").write_text(json.dumps(pairing(seed)))
        loss = [2 * (1 - value) for value in top1] if loss is None else loss
        write_log(path / "metrics.jsonl", steps, top1, loss)
        return path


def _nested(overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`{"model.order": …}` -> `{"model": {"order": …}}`."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        group, _, leaf = name.partition(".")
        groups.setdefault(group, {})[leaf] = value
    return groups


def pairing(seed: int, epochs: int = 3) -> dict[str, Any]:
    """The record of the start and the data of a run: the same for every arm of a seed."""

    def digest(*words: object) -> str:
        return hashlib.sha256(repr((seed, *words)).encode()).hexdigest()[:16]

    arrays = {"entry/conv/kernel": [3, 3, 1, 8], "head/kernel": [8, 10], "head/bias": [10]}
    return {
        "schema": 1,
        "initial": {
            path: {"shape": shape, "sha256": digest(path, shape)} for path, shape in arrays.items()
        },
        "first_batches": [
            {"step": n, "rows": 64, "pixels": digest("pixels", n), "labels": digest("labels", n)}
            for n in (1, 2)
        ],
        "epochs": [
            {"epoch": n, "batches": digest("batches", n), "augmentation": digest("draws", n)}
            for n in range(1, epochs + 1)
        ],
    }


def write_run(
    path: Path,
    entry: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]] = {},
    *,
    status: str,
    test_top1: float | None,
    **changes: Any,
) -> None:
    config = {
        "seed": entry["seed"],
        "data": {"name": "fashion_mnist_mini", **settings.get("data", {})},
        "model": {"name": "xception_mini", **settings.get("model", {})},
        "train": {"epochs": 10.0, "batch_size": 64, **settings.get("train", {})},
    }
    (path / "config.json").write_text(json.dumps(config))
    result = {"split": "test", "loss": 0.5, "top1": test_top1, "top5": 0.99, "examples": 2000}
    record = {
        **{key: entry[key] for key in ("id", "arm", "seed")},
        "status": status,
        "reason": None,
        "versions": VERSIONS,
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "devices": ["cpu"],
        "depthwise_implementation": "shift",
        "batch_norm_implementation": "lax",
        "options": {"jax_default_matmul_precision": "None"},
        "started": DECLARED,
        "ended": None if status == "running" else "2025-01-02T03:05:05+00:00",
        "steps": 1000,
        "epochs": 10.0,
        "examples": {"train": 10800, "valid": 1200, "test": 2000},
        "data": DATA,
        "code": CODE,
        "classes": 10,
        "parameters": 123456,
        "images_per_second": 4000.0 + entry["seed"],
        "compile_seconds": 3.0,
        "result": None if test_top1 is None else result,
    }
    (path / "run.json").write_text(json.dumps(with_checksum(record | changes)))


def edit_run(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a run's record, as if the run had written it so."""
    path = directory / "run.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(with_checksum(record)))


def edit_sweep(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the record of a sweep by a function of its content."""
    path = directory / "sweep.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def write_log(
    path: Path, steps: Sequence[int], top1: Sequence[float], loss: Sequence[float]
) -> None:
    """Writes a metrics.jsonl in which each validation row follows the training row of its step."""
    lines = []
    for step, accuracy, value in zip(steps, top1, loss, strict=True):
        row = {"step": int(step), "epoch": step / 100, "loss": value, "top1": accuracy, "top5": 1.0}
        lines.append(json.dumps(row | {"split": "train", "learning_rate": 0.1, "seconds": 1.0}))
        lines.append(json.dumps(row | {"split": "valid", "seconds": 1.5}))
    path.write_text("".join(f"{line}\n" for line in lines))


STEPS = tuple(range(100, 1001, 100))


def saturating(final: float, *, steps: Sequence[int] = STEPS, noise: float = 0.0, seed: int = 0):
    """An accuracy that rises from 0.1 to `final`, as a list of floats."""
    generator = np.random.default_rng(seed)
    at = np.asarray(steps, dtype=float)
    curve = final - (final - 0.1) * np.exp(-at / (0.15 * at[-1]))
    return np.clip(curve + noise * generator.normal(size=len(at)), 0, 1).tolist()


NewSweep = Callable[..., SweepWriter]


@pytest.fixture
def new_sweep(tmp_path: Path) -> NewSweep:
    """Makes a sweep directory; the runs are added by the test."""

    def make(**fields: Any) -> SweepWriter:
        return SweepWriter(tmp_path / "sweep", **fields)

    return make


@pytest.fixture
def finished_sweep(new_sweep: NewSweep) -> SweepWriter:
    """Three arms, three seeds, all done."""
    finals = {"none": 0.90, "relu": 0.88, "elu": 0.85}
    arms = {arm: {"model.intermediate_activation": arm} for arm in finals}
    sweep = new_sweep(arms=arms)
    for arm, final in finals.items():
        for seed in sweep.seeds:
            top1 = saturating(final, noise=0.004, seed=seed)
            sweep.add_run(arm, seed, steps=STEPS, top1=top1, test_top1=final - 0.01 + 0.002 * seed)
    return sweep


@pytest.fixture
def troubled_sweep(new_sweep: NewSweep) -> SweepWriter:
    """Every status, one arm with one seed done, one without any."""
    arms = {"none": {"model.intermediate_activation": "none"}, "relu": {}, "elu": {}, "selu": {}}
    sweep = new_sweep(arms=arms, claims=[{"contrast": ["none", "relu"], "direction": "greater"}])
    for seed in sweep.seeds:
        top1 = saturating(0.9, noise=0.004, seed=seed)
        sweep.add_run("none", seed, steps=STEPS, top1=top1, test_top1=0.89)
    sweep.add_run("relu", 0, steps=STEPS, top1=saturating(0.88), test_top1=0.87)
    sweep.add_run("relu", 1, status="running", steps=STEPS[:4], top1=saturating(0.88)[:4])
    bad = [0.3, 0.1, float("nan")]
    sweep.add_run("elu", 0, status="diverged", steps=STEPS[:3], top1=bad, reason="loss is nan")
    path = sweep.add_run("elu", 1, status="failed", reason="OSError: disk full")
    (path / "metrics.jsonl").unlink()
    return sweep
