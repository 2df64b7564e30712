"""Figure 6 and tables 1 and 3 of the paper: Inception and Xception of the same size.

Run it with `xception-jax sweep experiments/inception_vs_xception.py --workdir results/inception`.
This is the small version; the full size is `experiments/full_size/inception_vs_xception.py`.
"""

from xception_jax.sweep import Claim, Experiment


def get_experiment() -> Experiment:
    """Two architectures at equal parameters."""
    return Experiment(
        name="inception_vs_xception",
        hypothesis="At the same number of parameters Xception ends higher than Inception, "
        "and is ahead of it over the whole of training.",
        reference="paper section 4.5, figure 6, tables 1 and 3",
        base="../configs/fashion_mnist_mini.py",
        arms={
            "xception": {"model.name": "xception_tiny"},
            "inception": {"model.name": "inception_tiny"},
        },
        seeds=8,
        claims=(
            Claim("xception", "inception", "better"),
            Claim("xception", "inception", "better", ("curve_area",)),
        ),
        equal="parameters",
    )
