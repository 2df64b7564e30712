"""Sifre's experiment (paper section 2): AlexNet with regular and with separable convolutions.

Run it with `xception-jax sweep experiments/alexnet_separable.py --workdir results/alexnet`.
This is the small version; the full size is `experiments/full_size/alexnet_separable.py`.
"""

from xception_jax.sweep import Claim, Experiment


def get_experiment() -> Experiment:
    """Two arms that differ in their convolutions, and so in their size."""
    return Experiment(
        name="alexnet_separable",
        hypothesis="Separable convolutions make AlexNet faster to converge and more accurate, "
        "with far fewer parameters.",
        reference="paper section 2",
        base="../configs/fashion_mnist_mini.py",
        arms={
            "regular": {"model.name": "alexnet_tiny", "model.separable": False},
            "separable": {"model.name": "alexnet_tiny", "model.separable": True},
        },
        seeds=8,
        claims=(Claim("separable", "regular", "better", ("final_top1", "steps_to_target")),),
    )
