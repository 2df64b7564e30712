"""Sweeps: every arm and seed of an experiment, trained once, recorded, resumable."""

from xception_jax.sweep.claim import Claim
from xception_jax.sweep.contrast_claims import Effect, Interaction, Trend
from xception_jax.sweep.experiment import Experiment, PlannedRun, plan_runs
from xception_jax.sweep.loading import load_experiment
from xception_jax.sweep.tune import Tune

__all__ = [
    "Claim",
    "Effect",
    "Experiment",
    "Interaction",
    "PlannedRun",
    "Trend",
    "Tune",
    "load_experiment",
    "plan_runs",
]
