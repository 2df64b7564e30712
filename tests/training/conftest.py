"""The real config, shrunk to seconds, and ways to run it here and in a process of its own."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from tests import same_run
from tests.processes import started
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


@pytest.fixture
def command() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`command(directory, "seed=1", …, NAME="…")`: starts `xception-jax train`, as `run` does.

    What still runs at the end of the test is killed.
    """
    with ExitStack() as stack:

        def command(workdir: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
            of_run = ("train", CONFIG, "--workdir", workdir, *SHRUNK, *words)
            return stack.enter_context(started(*of_run, **environment))

        yield command


@pytest.fixture(scope="session")
def final_state() -> Callable[[Path], dict[str, Any]]:
    """See `same_run.final_state`."""
    return same_run.final_state


@pytest.fixture(scope="session")
def assert_same_run() -> Callable[[Path, Path], None]:
    """See `same_run.assert_same_run`."""
    return same_run.assert_same_run
