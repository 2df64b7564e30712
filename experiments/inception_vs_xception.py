"""Figure 6 and tables 1 and 3 of the paper: Inception and Xception of the same size.

Run it with `xception-jax sweep experiments/inception_vs_xception.py --workdir results/inception`.
This is the small version. At full size, add `model.name` of each arm by hand to a file like this
one, on `configs/imagenet.py`: "inception_v3" with a weight decay of 4e-5, and "xception".
"""

from xception_jax.sweep import Claim, Experiment


def get_experiment() -> Experiment:
    """Two architectures at equal parameters."""
    return Experiment(
        name="inception_vs_xception",
        hypothesis="At the same number of parameters Xception ends higher than Inception.",
        reference="paper section 4.5, figure 6, tables 1 and 3",
        base="../configs/fashion_mnist_mini.py",
        arms={
            "xception": {"model.name": "xception_tiny"},
            "inception": {"model.name": "inception_tiny"},
        },
        seeds=5,
        claims=(Claim("xception", "inception", "better"),),
        equal="parameters",
    )
