"""Figure 10 of the paper as it was set up: Xception on ImageNet, three intermediate activations.

Hypothesis, arms and claims are those of `experiments/nonlinearity.py`; the settings are the
paper's. Not run.

    xception-jax plan experiments/full_size/nonlinearity.py
    xception-jax sweep experiments/full_size/nonlinearity.py --workdir results/nonlinearity-imagenet
"""

from dataclasses import replace
from pathlib import Path

from xception_jax.sweep import Experiment, load_experiment

SMALL = Path(__file__).parents[1] / "nonlinearity.py"


def get_experiment() -> Experiment:
    """The small experiment on another base."""
    small, _ = load_experiment(SMALL)
    return replace(small, name="nonlinearity-imagenet", base="../../configs/imagenet.py")
