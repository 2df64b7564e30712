"""Fixtures that run commands as on several machines that share nothing but a store."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.programs import command_line


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """A function that starts a command as on a machine of its own: `start("train", machine="a")`.

    Machines are told apart by their cache directories. What still runs after the test is killed.
    """
    started: list[subprocess.Popen] = []

    def start(*words: object, machine: str = "a", **environment: str) -> subprocess.Popen:
        programs = Path(os.environ["XDG_CACHE_HOME"]) / "xception_jax" / "programs"
        process = subprocess.Popen(
            command_line(*words),
            env=os.environ
            | {
                "XDG_CACHE_HOME": str(tmp_path / machine),
                "JAX_COMPILATION_CACHE_DIR": str(programs),
                "XCEPTION_JAX_UPLOAD_SECONDS": "0.3",
            }
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
    for process in started:
        with process:  # waits for it, and closes its pipes
            pass


@pytest.fixture(autouse=True)
def no_wait_for_rivals(monkeypatch) -> None:
    """Shortens the wait, in this process, for others that might start at the same moment."""
    monkeypatch.setattr("xception_jax.remote.lease._SETTLED", 0.01)
