"""Figure 6 and tables 1 and 3 of the paper: Inception and Xception of the same size.

Run it with `xception-jax sweep experiments/inception_vs_xception.py --workdir results/inception`.
No result of it is published yet.

As in the paper, on ImageNet (not run). Xception has 22,855,952 parameters, and Inception V3 has
23,817,352 as in Keras (the paper's version has 23,626,728). Each model has its weight decay
from the paper:

    xception-jax sweep experiments/inception_vs_xception.py --base configs/imagenet.py \
--workdir results/figure6
"""

from xception_jax.sweep import Claim, Experiment

INCEPTIONS = {
    "xception": "inception_v3",
    "xception_small": "inception_small",
    "xception_tiny": "inception_tiny",
}


def get_experiment(model: str = "xception_tiny") -> Experiment:
    """Two architectures, with equal numbers of parameters or at the paper's sizes.

    Args:
        model: name of the base config's model, an Xception; the Inception has the same size.
    """
    if model not in INCEPTIONS:
        raise ValueError(f"the base's model.name={model!r} is none of {', '.join(INCEPTIONS)}")
    paper = model == "xception"
    decay = {"optimizer.weight_decay": 4e-5} if paper else {}
    return Experiment(
        name="inception_vs_xception",
        hypothesis="At about the same number of parameters Xception ends higher than Inception, "
        "and is ahead of it over the whole of training.",
        reference="paper section 4.5, figure 6, tables 1 and 3",
        base="../configs/fashion_mnist_mini.py",
        arms={
            "xception": {"model.name": model},
            "inception": {"model.name": INCEPTIONS[model], **decay},
        },
        seeds=8,
        claims=(
            Claim("xception", "inception", "better"),
            Claim("xception", "inception", "better", ("curve_area",)),
        ),
        equal="" if paper else "parameters",
    )
