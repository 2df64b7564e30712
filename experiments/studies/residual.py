"""Figure 9 of the paper, with and without an activation between the two operations.

    xception-jax data prepare fashion_mnist --from DIR
    xception-jax sweep experiments/studies/residual.py --workdir results/studies/residual

`docs/studies/residual.md` says what came out.
"""

from xception_jax.sweep import Effect, Experiment, Interaction, Tune

RESIDUAL, ACTIVATION = "model.residual", "model.intermediate_activation"


def get_experiment() -> Experiment:
    """Residual connections times three intermediate activations."""
    return Experiment(
        name="study_residual",
        hypothesis="Residual connections help Xception converge faster and end higher, whatever "
        "stands between the two operations; and no activation there is better than ReLU with "
        "residual connections and without.",
        reference="paper sections 4.6 and 4.7, figures 9 and 10",
        base="../../configs/fashion_mnist_tiny.py",
        factors={
            RESIDUAL: {"plain": False, "residual": True},
            ACTIVATION: ("none", "relu", "elu"),
        },
        tune=Tune("optimizer.learning_rate", (0.05, 0.1, 0.2, 0.4), seeds=2),
        seeds=32,
        looks=(16, 32),
        spending="pocock",
        claims=(
            Effect(RESIDUAL, "residual", "plain", "better", ("final_top1", "curve_area")),
            *(
                Effect(ACTIVATION, "none", "relu", "better", at={RESIDUAL: connections})
                for connections in ("residual", "plain")
            ),
            Interaction((RESIDUAL, ACTIVATION), ("residual", "relu"), ("plain", "none")),
        ),
    )
