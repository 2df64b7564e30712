"""Sweeps of long runs: one that is whole, and others that are started as processes."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launchers.worker_sweeps import start_sweep, words
from tests.shrunk import SIXTY_STEPS


@pytest.fixture(scope="session")
def whole(tmp_path_factory, call) -> Path:
    """A sweep of long runs, trained in this process."""
    home = tmp_path_factory.mktemp("sweep") / "whole"
    code, _, err = call(*words(home, *SIXTY_STEPS))
    assert (code, err) == (0, "")
    return home


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts sweeps as `start_sweep` does; those that still run are killed after the test."""
    started: list[subprocess.Popen] = []

    def start(home: Path, *more: str, **environment: str) -> subprocess.Popen:
        started.append(start_sweep(home, *more, **environment))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
