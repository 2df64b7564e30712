"""Holds the directory that is named, until it is killed; with a second word, without flock."""

import errno
import fcntl
import sys
import time
from pathlib import Path

from xception_jax import lock


def refuse(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


if __name__ == "__main__":
    lock.RENEWED = 0.05
    if len(sys.argv) > 2:
        fcntl.flock = refuse
    with lock.locked(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(1000)
