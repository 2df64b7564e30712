"""The peers' test of claims, with SciPy, agrees with the project's verdicts."""

import json
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import scipy_claims
from tests.synthetic_sweep import SweepWriter
from xception_jax.report.reading import read_directory
from xception_jax.statistics.verdicts import judge
from xception_jax.sweep import Claim

STEPS = (100, 200, 300, 400)
CLAIMS = [
    Claim("none", activation, direction, ("final_top1", "steps_to_target"))
    for activation, direction in (("relu", "better"), ("elu", "worse"))
]


@pytest.mark.parametrize("seeds", [5, 8])
@pytest.mark.parametrize("effect", [0.0, 0.004, 0.05])
def test_scipy_gives_our_verdicts(tmp_path, seeds, effect, rng):
    """Two claims of two endpoints, whatever the effect: equal words, equal adjusted p-values."""
    described = json.loads(json.dumps([claim.describe() for claim in CLAIMS]))
    arms = {arm: {"model.intermediate_activation": arm} for arm in ("none", "relu", "elu")}
    sweep = SweepWriter(tmp_path / "sweep", arms=arms, seeds=range(seeds), claims=described)
    runs = {}
    for arm in arms:
        for seed in range(seeds):
            final = 0.8 + effect * (arm == "none") + rng.normal(0, 0.004)
            curve = (final * (1 - np.exp(-np.arange(1, 5) * rng.uniform(0.8, 1.2)))).tolist()
            sweep.add_run(arm, seed, steps=STEPS, top1=curve, test_top1=final)
            runs[arm, seed] = {"test": final, "curve": list(zip(STEPS, curve, strict=True))}
    ours: list[Any] = judge(read_directory(sweep.directory))["claims"]
    theirs = scipy_claims.judge(described, runs, seeds)
    assert [claim["verdict"] for claim in ours] == [claim["verdict"] for claim in theirs]
    for own, their in zip(ours, theirs, strict=True):
        final, steps = own["endpoints"]
        agree = (final["effect"] >= 0) == (steps["effect"] <= 0)
        largest = max(final["p_adjusted"], steps["p_adjusted"])
        assert their["p"] == pytest.approx(largest if agree else 1.0)
