"""Figures 7 and 8 and table 2 of the paper: both models, with and without fully-connected layers.

Run it with `xception-jax sweep experiments/fully_connected.py --workdir results/fully_connected`.
No result of it is published yet.

The paper compares MAP@100 on JFT with none and with two layers of 4096 units before the classifier,
twice the number of features of both models. Here both models are tiny, and the layers have 384
units, twice the number of features of the tiny Xception. The images are mosaics of Fashion-MNIST.
The weight decays are the paper's, one for each model.

With the paper's models and layers, at 299 pixels (not run). JFT is not public, so the mosaics are
scaled up, and the results will differ from the paper's. A base given with `--base` must also be a
multi-label one, since others have no MAP@100:

    xception-jax sweep experiments/fully_connected.py --workdir results/figure8 \
model.name=xception data.image_size=299
"""

from xception_jax.sweep import Claim, Experiment

# For each Xception: the Inception of its size, and twice the number of its features.
SIZES = {
    "xception": ("inception_v3", 4096),
    "xception_small": ("inception_small", 1536),
    "xception_tiny": ("inception_tiny", 384),
}


def get_experiment(model: str = "xception_tiny") -> Experiment:
    """Two models times two classifiers.

    Args:
        model: name of the base config's model, an Xception; the Inception has the same size.
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
        factors={"models": models, "model.fully_connected": classifiers},
        seeds=8,
        claims=(
            *(
                Claim(f"xception-{which}", f"inception-{which}", endpoints=("final_map100",))
                for which in classifiers
            ),
            *(Claim(f"{name}-fc", f"{name}-plain", endpoints=("final_map100",)) for name in models),
        ),
    )
