"""A plugin of pytest (`-p tests.faults.recording`): which promise was tested how often.

With FAULTS_RESULTS=FILE what tests with a promise found is written there, for docs/reliability.md.
"""

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Generator
from pathlib import Path

import pytest

FOUND: list[dict[str, object]] = []
COLLECTED: set[str] = set()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Notes the name of every collected test, also of one that this session then leaves out."""
    COLLECTED.add(item.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    promise = item.get_closest_marker("promise")
    if promise and (report.when == "call" or report.outcome != "passed"):
        skipped = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        FOUND.append(
            {
                "promise": promise.args[0],
                "test": item.name,
                "how": " ".join((item.function.__doc__ or "").split()),
                "result": report.outcome + (f" ({skipped})" if skipped else ""),
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "seconds": round(report.duration, 1),
                **{"times": 1, **dict(item.user_properties)},
            }
        )
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the results of this session over earlier results of the same tests.

    Earlier results of cases that their test no longer has are left out.
    """
    if not (path := os.environ.get("FAULTS_RESULTS")):
        return
    file = Path(path)
    before = json.loads(file.read_text())["found"] if file.exists() else []
    if not any("::" in word for word in session.config.args):  # else not all cases are collected
        tests = {name.partition("[")[0] for name in COLLECTED}
        before = [
            row
            for row in before
            if row["test"] in COLLECTED or row["test"].partition("[")[0] not in tests
        ]
    found = {str(row["test"]): row for row in (*before, *FOUND)}
    names = ("jax", "jaxlib", "flax", "orbax-checkpoint", "numpy", "xception-jax")
    content = {
        "command": "make faults",
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in names},
        },
        "found": [found[test] for test in sorted(found)],
    }
    file.write_text(json.dumps(content, indent=2) + "\n")
