"""What the tests of weight files share."""

import os

import numpy as np
import pytest


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    """Fresh values on every run; the seed is printed when a test fails."""
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"numpy seed {seed}")
    return np.random.default_rng(seed)
