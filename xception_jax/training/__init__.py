"""Training: a run, or a pack of runs, on a mesh of devices, resumable at every checkpoint."""

from xception_jax.training.loop import Interrupted, Progress
from xception_jax.training.member import Labels, Run
from xception_jax.training.run import train, train_together

__all__ = ["Interrupted", "Labels", "Progress", "Run", "train", "train_together"]
