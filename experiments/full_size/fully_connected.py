"""Figures 7 and 8 and table 2 of the paper with its models: none or two layers of 4096 units.

Hypothesis, arms and claims are those of `experiments/fully_connected.py`, the models the paper's,
with 299 pixels. JFT is not public: in its place stand the mosaics of `configs/jft_style.py`, scaled
up, so that the figures will be others than the paper's. Not run.

    xception-jax plan experiments/full_size/fully_connected.py
    xception-jax sweep experiments/full_size/fully_connected.py --workdir results/figure8
"""

from dataclasses import replace
from pathlib import Path

from xception_jax.sweep import Experiment, load_experiment

SMALL = Path(__file__).parents[1] / "fully_connected.py"
MODELS = {"xception_tiny": "xception", "inception_tiny": "inception_v3"}


def get_experiment() -> Experiment:
    """The small experiment with the models that its own are small versions of."""
    small, _ = load_experiment(SMALL)
    arms = {
        arm: {
            **settings,
            "model.name": MODELS[settings["model.name"]],
            "model.fully_connected": (4096, 4096) if settings["model.fully_connected"] else (),
            "data.image_size": 299,
        }
        for arm, settings in small.arms.items()
    }
    return replace(
        small, name="fully_connected-full_size", base="../../configs/jft_style.py", arms=arms
    )
