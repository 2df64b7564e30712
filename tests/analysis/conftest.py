"""Sweep directories for the tests of reports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.synthetic_sweep import STEPS, SweepWriter, saturating


@pytest.fixture
def new_sweep(tmp_path: Path) -> Callable[..., SweepWriter]:
    """Makes a sweep directory; the runs are added by the test."""

    def make(**fields: Any) -> SweepWriter:
        return SweepWriter(tmp_path / "sweep", **fields)

    return make


@pytest.fixture
def finished_sweep(new_sweep: Callable[..., SweepWriter]) -> SweepWriter:
    """Three arms, three seeds, all done."""
    finals = {"none": 0.90, "relu": 0.88, "elu": 0.85}
    arms = {arm: {"model.intermediate_activation": arm} for arm in finals}
    sweep = new_sweep(arms=arms)
    for arm, final in finals.items():
        for seed in sweep.seeds:
            top1 = saturating(final, noise=0.004, seed=seed)
            sweep.add_run(arm, seed, steps=STEPS, top1=top1, test_top1=final - 0.01 + 0.002 * seed)
    return sweep
