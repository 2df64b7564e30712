"""Two runs that look for a server; what they warned of and what they cost goes to result.json."""

import json
import sys
import time
from pathlib import Path

from xception_jax.tracking import open_tracker, weights_and_biases


def main() -> None:
    weights_and_biases._INIT_SECONDS = 2.0
    warnings: list[str] = []
    started, slowest = time.monotonic(), 0.0
    for name in "ab":
        directory = Path(sys.argv[1], name)
        directory.mkdir()
        tracker = open_tracker(
            directory, run_id=name * 64, name=name, config={}, mode="online", warn=warnings.append
        )
        for step in range(1, 31):
            before = time.monotonic()
            tracker.log({"step": step, "epoch": 1.0, "split": "train", "loss": 1 / step})
            slowest = max(slowest, time.monotonic() - before)
        tracker.finish({})
    result = {"warnings": warnings, "slowest": slowest, "seconds": time.monotonic() - started}
    Path(sys.argv[1], "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
