"""Sweeps: every arm and seed of an experiment, trained once, recorded, resumable."""

from xception_jax.sweep.claim import Claim
from xception_jax.sweep.experiment import Experiment, PlannedRun, load_experiment, plan_runs
from xception_jax.sweep.tune import Tune

__all__ = ["Claim", "Experiment", "PlannedRun", "Tune", "load_experiment", "plan_runs"]
