"""The real config, shrunk to seconds, and ways to run it here and in a process of its own."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.processes import started
from tests.shrunk import CONFIG, SHRUNK
from xception_jax.config import Config, load_config, resolve
from xception_jax.training import RunNames, train


@pytest.fixture(scope="session")
def shrunk() -> Callable[..., Config]:
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
