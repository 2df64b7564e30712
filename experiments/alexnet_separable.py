"""Sifre's experiment (paper section 2): AlexNet with regular and with separable convolutions.

Run it with `xception-jax sweep experiments/alexnet_separable.py --workdir results/alexnet`.
No result of it is published yet.

At full size, on ImageNet with AlexNet's 224 pixels (not run). The paper does not give Sifre's
settings, so the others are those of Xception in `configs/imagenet.py`:

    xception-jax sweep experiments/alexnet_separable.py --base configs/imagenet.py \
--workdir results/alexnet-imagenet data.image_size=224
"""

from xception_jax.sweep import Claim, Experiment


def get_experiment(model: str = "xception_tiny") -> Experiment:
    """Two arms: AlexNet with regular and with separable convolutions, which have fewer parameters.

    Args:
        model: name of the base config's model. AlexNet is tiny if it ends in "_tiny" or "_small".
    """
    alexnet = "alexnet_tiny" if model.endswith(("_tiny", "_small")) else "alexnet"
    return Experiment(
        name="alexnet_separable",
        hypothesis="Separable convolutions make AlexNet faster to converge and more accurate, "
        "with far fewer parameters.",
        reference="paper section 2",
        base="../configs/fashion_mnist_mini.py",
        arms={
            "regular": {"model.name": alexnet, "model.separable": False},
            "separable": {"model.name": alexnet, "model.separable": True},
        },
        seeds=8,
        claims=(Claim("separable", "regular", "better", ("final_top1", "steps_to_target")),),
    )
