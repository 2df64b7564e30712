"""The order of the two operations, in the paper's Xception on ImageNet.

Hypothesis, arms and claims are those of `experiments/order.py`; the settings are the
paper's. Not run.

    xception-jax plan experiments/full_size/order.py
    xception-jax sweep experiments/full_size/order.py --workdir results/order-imagenet
"""

from dataclasses import replace
from pathlib import Path

from xception_jax.sweep import Experiment, load_experiment

SMALL = Path(__file__).parents[1] / "order.py"


def get_experiment() -> Experiment:
    """The small experiment on another base."""
    small, _ = load_experiment(SMALL)
    return replace(small, name="order-imagenet", base="../../configs/imagenet.py")
