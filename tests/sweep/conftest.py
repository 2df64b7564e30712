"""The real experiment, shrunk to seconds."""

from pathlib import Path

import pytest

from tests.shrunk import EXPERIMENT, SHRUNK
from tests.synthetic_sweep import finished_sweep, new_sweep  # noqa: F401 - fixtures of these tests


@pytest.fixture(scope="session")
def experiment() -> Path:
    return EXPERIMENT


@pytest.fixture(scope="session")
def shrunk_words() -> tuple[str, ...]:
    """Overrides that shrink an experiment to 9 steps of a tiny model a run."""
    return SHRUNK
