"""Holds the directory that is named, until it is killed."""

import sys
import time
from pathlib import Path

from xception_jax.runtime import lock

if __name__ == "__main__":
    lock.RENEWED = 0.05
    with lock.locked(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(1000)
