"""One variant in a process of its own, which does one round whenever it is told to.

The parent writes a line of JSON that describes the variant, then a line for each round; this
process answers each with a line of JSON. Whatever libraries print goes to standard error.
"""

import importlib
import json
import math
import os
import resource
import sys
import time
from typing import Any

from benchmarks.cases import Work


def main() -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")

    try:
        asked = json.loads(sys.stdin.readline())
        start = time.perf_counter()
        work = _load(asked["target"])(**asked["arguments"])
        built = time.perf_counter() - start
        ready = {"amount": work.amount, "notes": dict(work.notes), "build_seconds": built}
        if not work.cold:
            ready["first_seconds"] = _seconds(work, 1)
        repeats = 1 if asked["once"] else _repeats(work, asked["round_seconds"])
        answer(**ready, repeats=repeats)
        for _ in sys.stdin:
            answer(seconds=_seconds(work, repeats) / repeats, peak_memory_mb=_peak_memory())
    except Exception as error:
        answer(failed=" ".join(f"{type(error).__name__}: {error}".split())[:300])
        raise


def _load(target: str) -> Any:
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


def _seconds(work: Work, repeats: int) -> float:
    start = time.perf_counter()
    own = work.run(repeats)
    return time.perf_counter() - start if own is None else own


def _repeats(work: Work, round_seconds: float) -> int:
    """How many times fill a round, from two that follow the first (which compiled)."""
    work.run(1)
    return max(1, math.ceil(round_seconds / max(_seconds(work, 2) / 2, 1e-6)))


def _peak_memory() -> float:
    """The peak host memory of this process so far."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / (1024 if sys.platform == "linux" else 1024**2), 1)


if __name__ == "__main__":
    main()
