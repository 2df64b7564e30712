"""Writes docs/reliability.md from docs/reliability.json: `python tests/faults/reliability.py`."""

import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS, PAGE = DOCS / "reliability.json", DOCS / "reliability.md"


def page(results: Mapping[str, Any]) -> str:
    """The page: a row for each promise, with how it is tested, how often, and the last result."""
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    found = results["found"]
    minutes = sum(row["seconds"] for row in found) / 60
    what = (
        "This page shows which faults a sweep survives, and how that was tested. `make faults` "
        "runs the command line on a small sweep of the real experiment (three arms, 36 steps "
        "per run), and on damaged files, and writes this table. Each row is from the last time "
        f"that its tests ran; together they took {minutes:.0f} minutes. What can be wrong with "
        "every input, and which test has it, is in [Inputs](inputs.md)."
    )
    lines = [
        "# Reliability",
        "",
        *textwrap.wrap(what, 120),
        "",
        f"Machine and versions: {results['machine']}, {versions}.",
        "",
        "| promise | how it is tested | times | last result |",
        "|---|---|---|---|",
    ]
    for promise in sorted({row["promise"] for row in found}):
        rows = [row for row in found if row["promise"] == promise]
        times = sum(row["times"] for row in rows)
        lines.append(f"| {promise} | {_how(rows)} | {times} | {_outcome(rows)} |")
    return "\n".join(lines) + "\n"


def _how(rows: Sequence[Mapping[str, Any]]) -> str:
    """The sentences of a promise's tests, each once with its number of cases, and what they saw."""
    cases = Counter(row["test"].partition("[")[0] for row in rows)
    how = {row["test"].partition("[")[0]: row["how"] for row in rows}
    parts = [
        f"{how[test]} (`{test}`" + f", {count} cases" * (count > 1) + ")"
        for test, count in cases.items()
    ]
    moments: Counter[str] = Counter()
    for row in rows:
        moments.update(row.get("moments", {}))
    if moments:
        parts.append("kills: " + ", ".join(f"{name} {count}" for name, count in moments.items()))
    if repeated := sum(row.get("repeated_steps", 0) for row in rows):
        parts.append(f"repeated steps: {repeated} in total")
    if speeds := sorted(row["speed"] for row in rows if "speed" in row):
        span = f"{speeds[0]} to {speeds[-1]}"
        parts.append(f"median speed: {span} of that without W&B, measured in turns")
    return "; ".join(parts)


def _outcome(rows: Sequence[Mapping[str, Any]]) -> str:
    """The result of all rows of a promise, the tests that did not pass, and the dates."""
    dates = sorted({row["date"] for row in rows})
    date = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    others = [f"`{row['test']}` {row['result']}" for row in rows if row["result"] != "passed"]
    return f"{', '.join(others) or 'passed'}, {date}"


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text())))
