"""Figure 9 of the paper: Xception with and without residual connections.

Run it with `xception-jax sweep experiments/residual.py --workdir results/residual`. No result of it
is published; `experiments/studies/residual.py`, which tunes every arm, has one.

With the paper's settings (not run):

    xception-jax sweep experiments/residual.py --base configs/imagenet.py \
--workdir results/residual-imagenet
"""

from xception_jax.sweep import Claim, Experiment


def get_experiment() -> Experiment:
    """Two arms that differ only in the residual connections."""
    return Experiment(
        name="residual",
        hypothesis="Residual connections help Xception converge faster and end higher.",
        reference="paper section 4.6, figure 9",
        base="../configs/fashion_mnist_mini.py",
        arms={
            "residual": {"model.residual": True},
            "plain": {"model.residual": False},
        },
        seeds=8,
        # The paper claims both; the area under the curve measures both without a target accuracy.
        claims=(
            Claim("residual", "plain", "better", ("final_top1", "steps_to_target")),
            Claim("residual", "plain", "better", ("curve_area",)),
        ),
    )
