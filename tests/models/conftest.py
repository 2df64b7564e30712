"""Fixtures of the tests of models."""

import os

import pytest


@pytest.fixture(scope="module")
def seed() -> int:
    """Of the random weights and images of a file's certificate; printed when a test fails."""
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    return seed
