"""The real experiment, shrunk to seconds."""

from pathlib import Path

import pytest

from tests.shrunk import EXPERIMENT, SHRUNK


@pytest.fixture(scope="session")
def experiment() -> Path:
    return EXPERIMENT


@pytest.fixture(scope="session")
def shrunk_words() -> tuple[str, ...]:
    """Overrides that shrink an experiment to 9 steps of a tiny model a run."""
    return SHRUNK
