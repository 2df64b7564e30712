"""Blueprint separable convolutions: is it the order that helps, or what stands between?

    xception-jax data prepare fashion_mnist --from DIR
    xception-jax sweep experiments/studies/blueprint.py --workdir results/studies/blueprint

Blueprint separable convolutions (Haase and Amthor, CVPR 2020) put the pointwise operation first,
and are compared with blocks that have normalization and ReLU between their operations, of which
they themselves have none. Here the three differences are factors of their own.
`docs/studies/blueprint.md` says what came out.
"""

from xception_jax.sweep import Claim, Effect, Experiment, Interaction, Tune

ORDER, NORM = "model.order", "model.intermediate_norm"
ACTIVATION = "model.intermediate_activation"


def get_experiment() -> Experiment:
    """Two orders, with and without normalization between the operations, times activations."""
    return Experiment(
        name="study_blueprint",
        hypothesis="The pointwise operation first is better than the depthwise one first with "
        "normalization and ReLU after it, as published, and also where both orders have the same "
        "between their operations.",
        reference="arXiv 2003.13549; paper section 1.2",
        base="../../configs/fashion_mnist_tiny.py",
        factors={
            ORDER: ("depthwise_first", "pointwise_first"),
            NORM: {"plain": False, "norm": True},
            ACTIVATION: ("none", "relu", "elu"),
        },
        tune=Tune("optimizer.learning_rate", (0.05, 0.1, 0.2, 0.4), seeds=2),
        seeds=32,
        looks=(16, 32),
        spending="pocock",
        claims=(
            # The published comparison, in which three things differ.
            Claim("pointwise_first-plain-none", "depthwise_first-norm-relu"),
            # The order alone: as the published block is, as its baseline is, and on average.
            Effect(ORDER, at={NORM: "plain", ACTIVATION: "none"}),
            Effect(ORDER, at={NORM: "norm", ACTIVATION: "relu"}),
            Effect(ORDER),
            # Whether what stands between the operations decides about the order.
            Interaction((ORDER, NORM), ("pointwise_first", "norm"), ("depthwise_first", "plain")),
            Interaction(
                (ORDER, ACTIVATION), ("pointwise_first", "relu"), ("depthwise_first", "none")
            ),
        ),
    )
