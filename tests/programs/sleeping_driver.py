"""Starts the command of the words after the first, a log; prints its process id, and sleeps."""

import sys
import time
from pathlib import Path

from xception_jax.launchers import start

if __name__ == "__main__":
    worker = start(sys.argv[2:], Path(sys.argv[1]), {})
    print(worker.pid, flush=True)
    time.sleep(600)
