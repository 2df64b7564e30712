"""A curve to log, and a reader of W&B's offline files through wandb's own command."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Rows = list[dict[str, Any]]


def make_rows(first: int = 1, last: int = 20) -> Rows:
    """A training row every step and a validation row every fifth, as a training loop sends them.

    A validation row comes before the training row of its step: a loop reads training metrics one
    step late.
    """
    rows: Rows = []
    for step in range(first, last + 1):
        numbers = {"loss": 2 / 3**step, "top1": 1 - 0.9**step, "top5": 1 - 0.7**step}
        if step % 5 == 0:
            rows.append({"step": step, "epoch": step / 7, "split": "valid", **numbers})
        rows.append({"step": step, "epoch": step / 7, "split": "train", **numbers})
    return rows


@dataclass(frozen=True)
class OfflineRun:
    """What one offline run's file says: `curve` in the form of metrics.jsonl."""

    run: dict[str, Any]
    curve: Rows
    summary: dict[str, Any]
    metrics: Rows
    exit_code: int | None


def _curve_row(item: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in item.items() if not key.startswith("_")}
    (split,) = {key.partition("/")[0] for key in own if "/" in key}
    return {"split": split} | {key.removeprefix(f"{split}/"): value for key, value in own.items()}


def read_offline_run(directory: Path) -> OfflineRun:
    """The single W&B run of a run directory; fails where there is none or a second one."""
    (file,) = directory.glob("wandb/*run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    records = [json.loads(line) for line in done.stdout.splitlines()]

    def of(kind: str) -> Rows:
        return [record[kind] for record in records if record["type"] == kind]

    summary: dict[str, Any] = {}
    for update in of("summary"):
        summary |= update.get("update", {})
    return OfflineRun(
        run=of("run")[0],
        curve=[_curve_row(history["item"]) for history in of("history")],
        summary=summary,
        metrics=of("metric"),
        exit_code=next((record.get("exit_code", 0) for record in of("exit")), None),
    )


@pytest.fixture(name="make_rows")
def _make_rows() -> Callable[..., Rows]:
    return make_rows


@pytest.fixture(name="read_offline_run")
def _read_offline_run() -> Callable[[Path], OfflineRun]:
    return read_offline_run


@pytest.fixture(autouse=True, scope="session")
def wandb_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps wandb off the home directory of whoever runs the tests, and off their key."""
    home = tmp_path_factory.mktemp("wandb_home")
    patch = pytest.MonkeyPatch()
    for name in ("CACHE", "CONFIG", "DATA"):
        patch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
    patch.setenv("NETRC", str(home / "netrc"))
    patch.delenv("WANDB_API_KEY", raising=False)
    return home
