"""Training: one run on a mesh of devices, resumable at every checkpoint."""

from xception_jax.training.loop import Diverged, Interrupted, Progress
from xception_jax.training.run import Labels, train

__all__ = ["Diverged", "Interrupted", "Labels", "Progress", "train"]
