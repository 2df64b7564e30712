"""Logs a step a tenth of a second, and prints each with its time."""

import sys
import time
from pathlib import Path

from xception_jax.tracking import open_tracker

if __name__ == "__main__":
    tracker = open_tracker(Path(sys.argv[1]), run_id="ab12" * 16, name="n", config={})
    for step in range(1, 10**6):
        tracker.log({"step": step, "epoch": step / 7, "split": "train", "loss": 1 / step})
        print(step, time.time(), flush=True)
        time.sleep(0.1)  # slow, for W&B also writes whenever it has gathered 32 KiB
