"""The compute that a run takes: its share of the time of the devices that train it.

`run.json` holds it as `segments`, one for each time that a process began or resumed the run:
`{"from": 0, "to": 500, "device_seconds": 61.2, "end": "interrupted"}`. `to` is the step up to which
the seconds were measured, `reached` (after a kill) the last step in the log, and `end` is missing
while the process runs. `statistics.compute` reads them.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xception_jax.json_values import as_list, as_whole

Segment = dict[str, Any]
RECORD_EVERY = 30.0
"""Seconds, at least, between two records of a segment that goes on; a kill leaves unmeasured what
came after the last. They are made with checkpoints."""


class DeviceMeter:
    """The device-seconds of each run of a program: all its devices, shared by its active runs.

    The shares of all runs add up to the devices' time, whenever each of them ends.

    Args:
        devices: number of devices.
        runs: number of runs that have not ended.
        clock: seconds from any origin.
    """

    def __init__(
        self, devices: int, runs: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._devices, self._runs, self._clock = devices, runs, clock
        self._share, self._last = 0.0, clock()

    def share(self) -> float:
        """The device-seconds so far of a run that has not ended."""
        now = self._clock()
        self._share += (now - self._last) * self._devices / max(self._runs, 1)
        self._last = now
        return self._share

    def leave(self) -> float:
        """The device-seconds of a run that ends now; the others share the devices from now on."""
        share = self.share()
        self._runs -= 1
        return share


def reopened(segments: Any, log: bytes) -> list[Segment]:
    """The segments of earlier processes; one that has no end was killed.

    Args:
        segments: what `run.json` holds.
        log: the whole lines of `metrics.jsonl` as the earlier process left it.
    """
    known = [dict(entry) for entry in as_list(segments) if isinstance(entry, Mapping)]
    if known and "end" not in known[-1]:
        last = known[-1]
        rows = log.splitlines()
        step = json.loads(rows[-1])["step"] if rows else 0
        last["reached"] = max(step, as_whole(last.get("to")) or 0)
        last["end"] = "killed"
    return known


def measured(
    segments: Sequence[Segment], step: int, seconds: float, end: str | None = None
) -> list[Segment]:
    """The segments with what the last one has taken up to a step, and how it ended if it has."""
    last = {**segments[-1], "to": step, "device_seconds": round(seconds, 2)}
    return [*segments[:-1], last if end is None else {**last, "end": end}]
