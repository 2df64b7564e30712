"""Three arms of one compiled program, for tests of how and where a sweep's runs are trained."""

from xception_jax.sweep import Claim, Experiment

RATES = {"slow": 0.02, "usual": 0.05, "fast": 0.1}


def get_experiment() -> Experiment:
    """Arms that differ in the learning rate."""
    return Experiment(
        name="rates",
        hypothesis="A higher rate trains faster.",
        base="../../configs/fashion_mnist_mini.py",
        arms={name: {"optimizer.learning_rate": rate} for name, rate in RATES.items()},
        seeds=8,
        claims=(Claim("fast", "slow", "better"),),
    )
