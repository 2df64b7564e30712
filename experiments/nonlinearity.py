"""Figure 10 of the paper: an activation between the depthwise and the pointwise convolution.

Run it with `xception-jax sweep experiments/nonlinearity.py --workdir results/nonlinearity`.
README.md shows what came out, and `experiments/studies/nonlinearity.py` tunes every arm.

With the paper's settings (not run):

    xception-jax sweep experiments/nonlinearity.py --base configs/imagenet.py \
--workdir results/nonlinearity-imagenet
"""

from xception_jax.sweep import Claim, Experiment


def get_experiment() -> Experiment:
    """Three arms that differ only in the intermediate activation."""
    return Experiment(
        name="nonlinearity",
        hypothesis="No activation between the depthwise and the pointwise convolution gives both "
        "faster convergence and better final accuracy than ReLU or ELU.",
        reference="paper section 4.7, figure 10",
        base="../configs/fashion_mnist_mini.py",
        arms={
            "none": {"model.intermediate_activation": "none"},
            "relu": {"model.intermediate_activation": "relu"},
            "elu": {"model.intermediate_activation": "elu"},
        },
        seeds=8,
        # "Both faster convergence and better final performance": each claim needs both.
        claims=tuple(
            Claim("none", activation, "better", ("final_top1", "steps_to_target"))
            for activation in ("relu", "elu")
        ),
    )
