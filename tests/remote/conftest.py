"""Commands on machines that share nothing but a store."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def start(tmp_path) -> Callable[..., subprocess.Popen]:
    """`start("train", …, machine="a")`: the command on a machine with a cache of its own."""

    def start(*words: object, machine: str = "a", **environment: str) -> subprocess.Popen:
        programs = Path(os.environ["XDG_CACHE_HOME"]) / "xception_jax" / "programs"
        return subprocess.Popen(
            [sys.executable, "-m", "xception_jax", *map(str, words)],
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

    return start


@pytest.fixture(autouse=True)
def nobody_else_starts(monkeypatch) -> None:
    """In this process: no wait for who might write to a store at the same moment."""
    monkeypatch.setattr("xception_jax.remote.lease._SETTLED", 0.01)
