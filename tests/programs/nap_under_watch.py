"""Counts, then sleeps for so long, under a watchdog of so many seconds ("none": it never bites)."""

import sys
import time

from xception_jax.runtime.watchdog import Watchdog


def record(reason: str, stacks: str) -> None:
    print(reason, "\n", stacks, flush=True)


if __name__ == "__main__":
    seconds, nap = sys.argv[1:]
    with Watchdog(None if seconds == "none" else float(seconds), record) as watchdog:
        for _ in range(6):
            watchdog.alive("count", usual=0.01)
            time.sleep(0.3)
        print("alive", flush=True)
        time.sleep(float(nap))
    print("over")
