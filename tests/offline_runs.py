"""Reads W&B's offline files back, through wandb's own command."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class OfflineRun:
    """Content of one offline run's file: `curve` in the form of metrics.jsonl."""

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
