"""Fixtures of the tests of models."""

import os

import pytest


@pytest.fixture(scope="module")
def seed() -> int:
    """The seed of a file's random weights and images; printed when a test fails."""
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    return seed
