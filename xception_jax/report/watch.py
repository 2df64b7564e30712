"""Rebuilds a report whenever a sweep that is still running has left something new."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from xception_jax.errors import InputError
from xception_jax.records import METRICS_LOG, RUNS, TUNING_RUNS
from xception_jax.report.writing import ReportResult, write_report

SECONDS = 10.0
_PATTERNS = (
    *("*.json", METRICS_LOG, f"{RUNS}/*/*.json", f"{RUNS}/*/{METRICS_LOG}"),
    f"{TUNING_RUNS}/*/*.json",
)


def watch_report(
    directory: Path,
    *,
    seconds: float = SECONDS,
    command: str | None = None,
    sleep: Callable[[float], None] | None = None,
) -> Iterator[ReportResult]:
    """Writes the report now and after every change, until the sweep has ended.

    The page reloads itself after as many seconds; the last one does not.

    Args:
        directory: what `write_report` takes.
        seconds: time from one look at the files to the next.
        command: command to be shown on the page.
        sleep: waits so many seconds; None: `time.sleep`.

    Raises:
        InputError: as `write_report`; or `seconds` is not a time.
    """
    if not 1 <= seconds <= 86_400:
        near = SECONDS if math.isnan(seconds) else min(max(seconds, 1), 86_400)
        raise InputError("SECONDS", seconds, "must be from 1 to 86400", near)
    directory = Path(directory)
    reported: object = None
    while True:
        current = _fingerprint(directory)
        if current != reported:
            written = write_report(directory, command=command, refresh=seconds)
            yield written
            if written.has_ended:
                return
            reported = current
        (sleep or time.sleep)(seconds)


def _fingerprint(directory: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of every file that a report reads."""
    states = {}
    for path in (path for pattern in _PATTERNS for path in directory.glob(pattern)):
        try:
            status = path.stat()
        except FileNotFoundError:  # it was replaced just now: the next look sees the new one
            continue
        states[path] = (status.st_size, status.st_mtime_ns)
    return states
