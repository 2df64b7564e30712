"""The real experiment, shrunk to seconds."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.shrunk import EXPERIMENT, SHRUNK
from tests.synthetic_sweep import finished_sweep, new_sweep  # noqa: F401 - fixtures of these tests
from xception_jax.sweep import PlannedRun, load_experiment, plan_runs


@pytest.fixture(scope="session")
def experiment() -> Path:
    return EXPERIMENT


@pytest.fixture(scope="session")
def shrunk_words() -> tuple[str, ...]:
    """Overrides that shrink an experiment to 9 steps of a tiny model a run."""
    return SHRUNK


@pytest.fixture(scope="session")
def planned(experiment, shrunk_words) -> list[PlannedRun]:
    """Runs of four arms, two seeds; the last arm has another width in addition."""
    words = [word for word in shrunk_words if "width" not in word]
    described, base = load_experiment(experiment, overrides=words)
    wide = {"model.intermediate_activation": "elu", "model.width": 0.5}
    described = replace(described, seeds=2, arms={**described.arms, "wide": wide})
    return plan_runs(described, base)
