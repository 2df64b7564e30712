"""Figure 6 and tables 1 and 3 of the paper as they were set up: both models on ImageNet.

Hypothesis and claims are those of `experiments/inception_vs_xception.py`; the settings are the
paper's, with the weight decay it gives for each model. Both have the size they have: Inception V3
23,817,352 parameters in Keras (the paper's own version 23,626,728), Xception 22,855,952. Not run.

    xception-jax plan experiments/full_size/inception_vs_xception.py
    xception-jax sweep experiments/full_size/inception_vs_xception.py --workdir results/figure6
"""

from dataclasses import replace
from pathlib import Path

from xception_jax.sweep import Experiment, load_experiment

SMALL = Path(__file__).parents[1] / "inception_vs_xception.py"
ARMS = {
    "xception": {"model.name": "xception", "optimizer.weight_decay": 1e-5},
    "inception": {"model.name": "inception_v3", "optimizer.weight_decay": 4e-5},
}


def get_experiment() -> Experiment:
    """The small experiment with other models, on another base."""
    small, _ = load_experiment(SMALL)
    return replace(
        small,
        name="inception_vs_xception-imagenet",
        hypothesis="Xception ends higher than Inception V3, which has slightly more parameters.",
        base="../../configs/imagenet.py",
        arms=ARMS,
        equal="",
    )
