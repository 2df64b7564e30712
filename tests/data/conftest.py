"""Fixtures of the data tests: the shipped data set, prepared once, and closed folders."""

import os
from pathlib import Path

import pytest

from tests.closed_folders import open_folder  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def prepared() -> str:
    """Directory of prepared data sets that holds fashion_mnist_mini, for all processes' tests."""
    from xception_jax.data import prepare

    directory = Path(os.environ["XDG_CACHE_HOME"]) / "prepared"
    prepare("fashion_mnist_mini", str(directory))  # waits where another process is at it
    return str(directory)
