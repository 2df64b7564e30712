"""Figures 7 and 8 and table 2 of the paper: both models, with and without fully-connected layers.

Run it with `xception-jax sweep experiments/fully_connected.py --workdir results/fully_connected`.

The paper compares MAP@100 on JFT with none and with two layers of 4096 units before the classifier,
twice the features that both models end in. Here both models are tiny, and the layers have 384
units, twice the features of the tiny Xception; the images are mosaics of Fashion-MNIST. The weight
decays are the paper's, one for each model.

With the paper's models and layers, at 299 pixels; JFT is not public, so that the mosaics, scaled
up, stand in its place, and the figures will be others than the paper's. Another base has to be of
images with many labels, too: others have no MAP@100. Not run:

    xception-jax sweep experiments/fully_connected.py --workdir results/figure8 \
model.name=xception data.image_size=299
"""

from xception_jax.sweep import Claim, Experiment

# Of each Xception, the Inception of its size, and twice the features that it ends in.
SIZES = {
    "xception": ("inception_v3", 4096),
    "xception_small": ("inception_small", 1536),
    "xception_tiny": ("inception_tiny", 384),
}


def get_experiment(model: str = "xception_tiny") -> Experiment:
    """Two models times two classifiers.

    Args:
        model: of the base config: the Xception whose size both models have.
    """
    if model not in SIZES:
        raise ValueError(f"the base's model.name={model!r} is none of {', '.join(SIZES)}")
    inception, units = SIZES[model]
    models = {
        "xception": {"model.name": model, "optimizer.weight_decay": 1e-5},
        "inception": {"model.name": inception, "optimizer.weight_decay": 4e-5},
    }
    classifiers = {"plain": (), "fc": (units, units)}
    return Experiment(
        name="fully_connected",
        hypothesis="Xception beats Inception with and without two fully-connected layers before "
        "the classifier, and both gain by such layers.",
        reference="paper section 4.5.1, table 2, figures 7 and 8",
        base="../configs/jft_style.py",
        arms={
            f"{name}-{classifier}": {**settings, "model.fully_connected": layers}
            for name, settings in models.items()
            for classifier, layers in classifiers.items()
        },
        seeds=8,
        claims=(
            *(
                Claim(f"xception-{which}", f"inception-{which}", endpoints=("final_map100",))
                for which in classifiers
            ),
            *(Claim(f"{name}-fc", f"{name}-plain", endpoints=("final_map100",)) for name in models),
        ),
    )
