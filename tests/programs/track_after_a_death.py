"""Two runs, in the first of which wandb's own process is killed."""

import os
import signal
import sys
import time
from pathlib import Path

from xception_jax.tracking import open_tracker


def kill_service(directory: Path) -> None:
    """As soon as it has begun to write."""
    while not list(directory.glob("wandb/*/*.wandb")):
        time.sleep(0.01)
    time.sleep(0.5)
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def main() -> None:
    for name in "ab":
        directory = Path(sys.argv[1], name)
        directory.mkdir()
        tracker = open_tracker(directory, run_id=name * 64, name=name, config={}, warn=print)
        for step in range(1, 31):
            tracker.log({"step": step, "epoch": 1.0, "split": "train", "loss": 1 / step})
            if name == "a" and step == 15:
                kill_service(directory)
            time.sleep(0.02)
        tracker.finish({})


if __name__ == "__main__":
    main()
