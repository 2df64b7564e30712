"""The real command line over a small sweep.

FAULTS_KILLS is the number of kills, over single runs and packs together.
"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.small_sweep import Command, sweep_words


@pytest.fixture
def command(tmp_path) -> Iterator[Callable[..., Command]]:
    """`command("sweep", …)`, started; what is left of it at the end of the test is killed."""
    started: list[Command] = []

    def command(*words: object, **more: Any) -> Command:
        started.append(Command(tmp_path / f"command-{len(started)}.log", *words, **more))
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
