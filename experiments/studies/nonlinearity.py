"""Figure 10 of the paper with every arm at its own learning rate, and two looks at the seeds.

    xception-jax data prepare fashion_mnist --from DIR
    xception-jax sweep experiments/studies/nonlinearity.py --workdir results/studies/nonlinearity

`docs/studies/nonlinearity.md` says what came out. A model of about four times as many parameters:

    xception-jax sweep experiments/studies/nonlinearity.py \
--workdir results/studies/nonlinearity-wide model.width=2
"""

from xception_jax.sweep import Claim, Experiment, Tune

# Speed is measured to a tenth of the only epoch.
OFTEN = {"train.evaluate_every_epochs": 0.1}


def get_experiment() -> Experiment:
    """Three arms that differ in the intermediate activation, and in the rate that suits it."""
    return Experiment(
        name="study_nonlinearity",
        hypothesis="No activation between the depthwise and the pointwise convolution gives both "
        "faster convergence and better final accuracy than ReLU or ELU, each at its own learning "
        "rate.",
        reference="paper section 4.7, figure 10",
        base="../../configs/fashion_mnist_tiny.py",
        arms={
            activation: {"model.intermediate_activation": activation, **OFTEN}
            for activation in ("none", "relu", "elu")
        },
        tune=Tune("optimizer.learning_rate", (0.05, 0.1, 0.2, 0.4), seeds=2),
        seeds=32,
        looks=(16, 32),
        spending="pocock",
        target=0.8,
        claims=tuple(
            Claim("none", activation, "better", ("final_top1", "steps_to_target"))
            for activation in ("relu", "elu")
        ),
    )
