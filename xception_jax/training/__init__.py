"""Training: a run, or a pack of runs, on a mesh of devices, resumable at every checkpoint."""

from xception_jax.training.loop import Interrupted, Progress
from xception_jax.training.run_writer import RunNames, RunSpec
from xception_jax.training.train import train, train_together

__all__ = ["Interrupted", "Progress", "RunNames", "RunSpec", "train", "train_together"]
