"""Prints whether a run without W&B has imported it."""

import sys
from pathlib import Path

from xception_jax.tracking import open_tracker

if __name__ == "__main__":
    tracker = open_tracker(Path(sys.argv[1]), run_id="a", name="n", config={}, mode="disabled")
    tracker.log({"step": 1, "epoch": 1.0, "split": "train", "loss": 1.0})
    tracker.finish({})
    print("wandb" in sys.modules)
