"""The real config, shrunk to seconds, and ways to run it here and in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest
from ml_collections import ConfigDict
from shrunk import CONFIG, SHRUNK

from xception_jax.config import load_config, resolve
from xception_jax.tracking import read_metrics
from xception_jax.training import Labels, train


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
        return train(shrunk(*words), directory, labels=Labels("shrunk"), **arguments)

    return run


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.Popen]:
    """`command("train", …)`: `xception-jax train CONFIG` with the shrunk settings, started."""

    def command(workdir: Path, *words: str, **environment: str) -> subprocess.Popen:
        program = [sys.executable, "-m", "xception_jax", "train", str(CONFIG)]
        return subprocess.Popen(
            [*program, "--workdir", str(workdir), *SHRUNK, *words],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return command


@pytest.fixture(scope="session")
def final_state() -> Callable[[Path], dict[str, Any]]:
    """The arrays of a run's newest checkpoint by path, read by Orbax alone."""
    import orbax.checkpoint as ocp

    def final_state(directory: Path) -> dict[str, Any]:
        newest = max(int(path.name) for path in (directory / "checkpoints").iterdir())
        tree = ocp.StandardCheckpointer().restore(
            (directory / "checkpoints" / str(newest) / "default").absolute()
        )
        leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
        return {jax.tree_util.keystr(path): value for path, value in leaves}

    return final_state


@pytest.fixture(scope="session")
def assert_same_run(final_state) -> Callable[[Path, Path], None]:
    """Fails unless two runs left the same curve and the same final state, bit for bit."""
    import numpy as np

    def assert_same_run(one: Path, other: Path) -> None:
        assert read_metrics(one / "metrics.jsonl") == read_metrics(other / "metrics.jsonl")
        states = final_state(one), final_state(other)
        assert states[0].keys() == states[1].keys()
        for path, value in states[0].items():
            assert np.array_equal(value, states[1][path]), path
        predictions = [np.load(home / "predictions.npz") for home in (one, other)]
        for name in predictions[0].files:
            assert np.array_equal(predictions[0][name], predictions[1][name]), name

    return assert_same_run
