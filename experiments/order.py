"""Does the order of the two operations matter? The paper argues that it does not, without a test.

Run it with `xception-jax sweep experiments/order.py --workdir results/order`.
No result of it is published yet.

With the paper's settings (not run):

    xception-jax sweep experiments/order.py --base configs/imagenet.py \
--workdir results/order-imagenet
"""

from xception_jax.sweep import Claim, Experiment

ORDERS = ("depthwise_first", "pointwise_first")
ACTIVATIONS = ("none", "relu", "elu")


def get_experiment() -> Experiment:
    """Two orders times three intermediate activations."""
    return Experiment(
        name="order",
        hypothesis="The order of the depthwise and the pointwise convolution is unimportant, "
        "because the blocks are stacked.",
        reference="paper section 1.2; figure 10 for the activations",
        base="../configs/fashion_mnist_mini.py",
        factors={"model.order": ORDERS, "model.intermediate_activation": ACTIVATIONS},
        seeds=8,
        claims=tuple(
            Claim(
                f"depthwise_first-{activation}",
                f"pointwise_first-{activation}",
                "equivalent",
                margin=0.01,  # of the accuracy; Xception and Inception V3 differ by 0.008 (table 1)
            )
            for activation in ACTIVATIONS
        ),
    )
