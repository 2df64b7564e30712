"""The real config, shrunk to seconds, and ways to run it here and in a process of its own."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from tests import same_run
from tests.programs import command_line
from tests.shrunk import CONFIG, SHRUNK
from xception_jax.config import load_config, resolve
from xception_jax.training import RunNames, train


@pytest.fixture(scope="session")
def shrunk_words() -> tuple[str, ...]:
    """The config file and the overrides, as words of a command line."""
    return (str(CONFIG), *SHRUNK)


@pytest.fixture(scope="session")
def shrunk() -> Callable[..., ConfigDict]:
    """`shrunk("seed=1", …)`: configs/fashion_mnist_mini.py, shrunk, with overrides."""
    return lambda *words: resolve(load_config(CONFIG), overrides=[*SHRUNK, *words])


@pytest.fixture(scope="session")
def run(shrunk) -> Callable[..., dict[str, Any]]:
    """`run(directory, "seed=1", …, stop=…)`: trains the shrunk config in this process."""

    def run(directory: Path, *words: str, **arguments: Any) -> dict[str, Any]:
        return train(shrunk(*words), directory, names=RunNames("shrunk"), **arguments)

    return run


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.Popen]:
    """`command("train", …)`: `xception-jax train CONFIG` with the shrunk settings, started."""

    def command(workdir: Path, *words: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            command_line("train", CONFIG, "--workdir", workdir, *SHRUNK, *words),
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return command


@pytest.fixture(scope="session")
def final_state() -> Callable[[Path], dict[str, Any]]:
    """See `same_run.final_state`."""
    return same_run.final_state


@pytest.fixture(scope="session")
def assert_same_run() -> Callable[[Path, Path], None]:
    """See `same_run.assert_same_run`."""
    return same_run.assert_same_run
