"""Figure 9 of the paper as it was set up: Xception on ImageNet, with and without residuals.

Hypothesis, arms and claims are those of `experiments/residual.py`; the settings are the
paper's. Not run.

    xception-jax plan experiments/full_size/residual.py
    xception-jax sweep experiments/full_size/residual.py --workdir results/residual-imagenet
"""

from dataclasses import replace
from pathlib import Path

from xception_jax.sweep import Experiment, load_experiment

SMALL = Path(__file__).parents[1] / "residual.py"


def get_experiment() -> Experiment:
    """The small experiment on another base."""
    small, _ = load_experiment(SMALL)
    return replace(small, name="residual-imagenet", base="../../configs/imagenet.py")
