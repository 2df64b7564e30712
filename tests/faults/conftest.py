"""The real command line over a small sweep, and a record of which promise was tested how often.

With FAULTS_RESULTS=FILE what these tests found is written there, for docs/reliability.md.
FAULTS_KILLS is the number of kills, over single runs and packs together.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.faults.small_sweep import Command, sweep_words

FOUND: list[dict[str, object]] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "promise(text): what a test of faults holds the program to")


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


def pytest_sessionfinish() -> None:
    """What was found of each test is laid over what was found of it before."""
    if not (path := os.environ.get("FAULTS_RESULTS")):
        return
    file = Path(path)
    before = json.loads(file.read_text())["found"] if file.exists() else []
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


@pytest.fixture
def command(tmp_path) -> Iterator[Callable[..., Command]]:
    """`command("sweep", …)`, started; what is left of it at the end of the test is killed."""
    started: list[Command] = []

    def command(*words: object, **environment: str) -> Command:
        started.append(Command(tmp_path / f"command-{len(started)}.log", *words, **environment))
        return started[-1]

    yield command
    for one in started:
        for pid in one.orphans():
            os.kill(int(pid), signal.SIGKILL)


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Callable[[str], Path]:
    """`reference("off")`: the sweep that nothing disturbed, each packing once."""
    made: dict[str, Path] = {}

    def reference(packing: str) -> Path:
        if packing not in made:
            home = tmp_path_factory.mktemp("reference") / "sweep"
            one = Command(home.with_suffix(".log"), *sweep_words(home, packing))
            assert one.finish() == 0, one.err
            made[packing] = home
        return made[packing]

    return reference
