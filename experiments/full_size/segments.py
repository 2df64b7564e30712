"""The paper's untested conjecture at full size: segments times activation, Xception on ImageNet.

Hypothesis, arms and claims are those of `experiments/segments.py`; the settings are the paper's,
and every arm has the parameters of the paper's Xception, 22,855,952, within 1%. Not run.

    xception-jax plan experiments/full_size/segments.py
    xception-jax sweep experiments/full_size/segments.py --workdir results/segments-imagenet
"""

from dataclasses import replace
from pathlib import Path

from xception_jax.sweep import Experiment, load_experiment

SMALL = Path(__file__).parents[1] / "segments.py"


def get_experiment() -> Experiment:
    """The small experiment on another base, from the paper's width."""
    small, _ = load_experiment(SMALL)
    arms = {arm: {**settings, "model.width": 1.0} for arm, settings in small.arms.items()}
    return replace(small, name="segments-imagenet", base="../../configs/imagenet.py", arms=arms)
