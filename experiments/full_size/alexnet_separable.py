"""Sifre's experiment (paper section 2) at full size: AlexNet on ImageNet at 224 pixels.

Hypothesis and claims are those of `experiments/alexnet_separable.py`. The paper does not give
Sifre's settings: the rest is as for Xception in `configs/imagenet.py`. Not run.

    xception-jax plan experiments/full_size/alexnet_separable.py
    xception-jax sweep experiments/full_size/alexnet_separable.py --workdir results/alexnet-imagenet
"""

from dataclasses import replace
from pathlib import Path

from xception_jax.sweep import Experiment, load_experiment

SMALL = Path(__file__).parents[1] / "alexnet_separable.py"


def get_experiment() -> Experiment:
    """The small experiment with the model of the same name, on another base."""
    small, _ = load_experiment(SMALL)
    full = {"model.name": "alexnet", "data.image_size": 224}
    arms = {arm: {**settings, **full} for arm, settings in small.arms.items()}
    return replace(
        small, name="alexnet_separable-imagenet", base="../../configs/imagenet.py", arms=arms
    )
