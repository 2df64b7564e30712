"""Figures 7 and 8 and table 2 of the paper: both models, with and without fully-connected layers.

Run it with `xception-jax sweep experiments/fully_connected.py --workdir results/fully_connected`.

The paper compares MAP@100 on JFT with none and with two layers of 4096 units before the classifier,
twice the features that both models end in. Here both models are tiny, and the layers have 384
units, twice the features of the tiny Xception; the images are mosaics of Fashion-MNIST. The weight
decays are the paper's, one for each model.
"""

from xception_jax.sweep import Claim, Experiment

MODELS = {
    "xception": {"model.name": "xception_tiny", "optimizer.weight_decay": 1e-5},
    "inception": {"model.name": "inception_tiny", "optimizer.weight_decay": 4e-5},
}
LAYERS = {"plain": (), "fc": (384, 384)}


def get_experiment() -> Experiment:
    """Two models times two classifiers."""
    return Experiment(
        name="fully_connected",
        hypothesis="Xception beats Inception with and without two fully-connected layers before "
        "the classifier, and both gain by such layers.",
        reference="paper section 4.5.1, table 2, figures 7 and 8",
        base="../configs/jft_style.py",
        arms={
            f"{model}-{layers}": {**settings, "model.fully_connected": LAYERS[layers]}
            for model, settings in MODELS.items()
            for layers in LAYERS
        },
        seeds=8,
        claims=(
            *(
                Claim(f"xception-{layers}", f"inception-{layers}", endpoints=("final_map100",))
                for layers in LAYERS
            ),
            *(
                Claim(f"{model}-fc", f"{model}-plain", endpoints=("final_map100",))
                for model in MODELS
            ),
        ),
    )
