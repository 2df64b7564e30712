"""A random generator for the module-wide fixtures of the tests of weight files."""

import os

import numpy as np
import pytest


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    """A generator with a new seed on every run, which is printed if a test fails."""
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"numpy seed {seed}")
    return np.random.default_rng(seed)
