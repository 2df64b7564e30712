"""Writes rows to the log that is named, and the number of each to standard output, without end."""

import itertools
import sys
from pathlib import Path

from xception_jax.tracking.jsonl import MetricsLog

if __name__ == "__main__":
    log = MetricsLog(Path(sys.argv[1]))
    for step in itertools.count():
        log.write({"step": step, "epoch": step / 7, "split": "train", "loss": 1 / (step + 1)})
        sys.stdout.write(f"{step}\n")
        sys.stdout.flush()
