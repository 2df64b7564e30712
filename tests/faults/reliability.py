"""Writes docs/reliability.md from docs/reliability.json: `python tests/faults/reliability.py`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS, PAGE = DOCS / "reliability.json", DOCS / "reliability.md"


def page(results: Mapping[str, Any]) -> str:
    """The table: promise, how it is tested, how often, last result."""
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines = [
        "# Reliability",
        "",
        "This page shows which faults a sweep survives, and how that was tested. `make faults`",
        "runs the command line on a small sweep of the real experiment (three arms, 36 steps per",
        "run) and writes this table. Each row is from the last time that its test ran.",
        "",
        f"Machine and versions: {results['machine']}, {versions}.",
        "",
        "| promise | how it is tested | times | last result |",
        "|---|---|---|---|",
    ]
    for row in results["found"]:
        how = row["how"] + f" (`{row['test']}`)"
        if "moments" in row:
            how += "; " + ", ".join(f"{name}: {n}" for name, n in row["moments"].items())
        if "repeated_steps" in row:
            how += f"; repeated steps: {row['repeated_steps']} in total"
        if "speed" in row:
            how += f"; median speed: {row['speed']} of that without W&B, measured in turns"
        lines.append(
            f"| {row['promise']} | {how} | {row['times']} | {row['result']}, {row['date']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text())))
