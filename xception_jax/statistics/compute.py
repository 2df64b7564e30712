"""Compute spent, in device-seconds: what stands beside each verdict, and what the page sums up.

A run's share of the time of its devices is what its `run.json` recorded (`runtime.device_time`): a
device that trains a pack of eight runs for eight seconds spends one on each. A run of an earlier
version has only the times of its start and its end; if it was never resumed, they are taken.

Every device-second of a sweep is in one of these:

* `judged`: of runs that the verdict rests on, as far as their result needed it.
* `thrown_away`: steps that were trained again after a kill; runs that failed; and runs in the
  directory that `sweep.json` no longer lists.
* `tuning`: all runs below `tuning/`.
* `not_judged`: of runs that have ended, and that no verdict uses.
* `unfinished`: of runs that have not ended.

What is in none: start-up, trials of pack sizes, evaluation afterwards, reports; and whatever was
spent in other directories.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from xception_jax.json_values import as_list, as_mapping, as_real, as_text, as_whole
from xception_jax.records import ENDED
from xception_jax.statistics.json_types import Part, SpentCompute
from xception_jax.statistics.results import OtherRun, Run, Spent, Sweep

PARTS: tuple[Part, ...] = get_args(Part)
"""The parts into which the compute of a sweep is divided."""
_MOST_SECONDS = 1e12

ArmSeed = tuple[str, int | None]


def spent_by(record: Mapping[str, Any]) -> Spent | None:
    """The compute that a run spent, by its `run.json`; None where that does not say.

    Of a process whose last steps another one had to train again, the share of these steps is lost,
    and with it that share of what it spent on compilation, evaluation and checkpoints. Steps after
    the last record of a process that was killed count at the pace of those before.
    """
    segments = [as_mapping(segment) for segment in as_list(record.get("segments"))]
    if not segments:
        seconds = _seconds_between(record)
        known = seconds is not None and 0 <= seconds < _MOST_SECONDS
        return Spent(seconds or 0.0, 0.0, is_estimate=True) if known else None
    starts = [as_whole(segment.get("from")) or 0 for segment in segments]
    kept = lost = 0.0
    is_whole = True
    for at, (start, segment) in enumerate(zip(starts, segments, strict=True)):
        seconds, end = as_real(segment.get("device_seconds")), as_whole(segment.get("to"))
        reached = max(as_whole(segment.get("reached")) or 0, end or 0)
        is_last = at + 1 == len(segments)
        if seconds is None or end is None or (end <= start < reached):
            is_whole = False  # killed before its time was recorded, or it goes on
        elif end <= start:  # it took no step: what it did was of use if it ended the run
            kept, lost = (kept + seconds, lost) if is_last else (kept, lost + seconds)
        else:
            pace = seconds / (end - start)
            needed = min(reached, *starts[at + 1 :]) if not is_last else reached
            kept += pace * max(needed - start, 0)
            lost += pace * (reached - max(needed, start))
    # What nobody can have spent is damage, and would make a sum of all runs nonsense.
    return Spent(kept, lost, is_whole=is_whole) if 0 <= kept + lost < _MOST_SECONDS else None


def _seconds_between(record: Mapping[str, Any]) -> float | None:
    """The device-seconds from start to end, of a run that was never resumed and has no segments."""
    devices = len(as_list(record.get("devices")))
    if not devices or record.get("resumed_from") or record.get("status") not in (*ENDED, "failed"):
        return None
    try:
        times = [datetime.fromisoformat(as_text(record.get(name))) for name in ("started", "ended")]
        seconds = (times[1] - times[0]).total_seconds()
    except (ValueError, TypeError):
        return None
    return seconds * devices / (packed_runs(record) or 1)


def packed_runs(record: Mapping[str, Any]) -> int | None:
    """The number of runs that trained in one program with the run of this `run.json`, with itself.

    None for a run alone. A pack can have more slots, its `size`, than runs.
    """
    pack = as_mapping(record.get("pack"))
    return len(as_list(pack.get("runs"))) or as_whole(pack.get("size"))


@dataclass(frozen=True)
class _Entry:
    """One run with what it spent; `kind` is how far it came: ended, failed, unfinished, …."""

    arm: str
    seed: int | None
    kind: str
    spent: Spent | None
    devices: tuple[str, ...]


class Compute:
    """The compute of all runs in the directory of a sweep."""

    def __init__(self, sweep: Sweep) -> None:
        self._entries = [_listed(run) for run in sweep.runs if run.status != "planned"]
        begun = (other for other in sweep.others if other.record.get("status") != "planned")
        self._entries += map(_unlisted, begun)

    def describe(
        self, judged: Collection[ArmSeed], arms: Collection[str] | None = None
    ) -> SpentCompute:
        """The device-seconds of the runs of some arms, by `PARTS`, as plain data.

        Args:
            judged: arm and seed of the runs that the verdict rests on, or all verdicts.
            arms: the arms; None: all.

        Returns:
            Device-seconds by part; `runs`, their number by part; `devices`, the kinds; `at_least`,
            the number of runs of which some or all is not recorded, so that the sums are too small;
            `estimated`, the number of those whose time was taken from start to end.
        """
        parts, runs = dict.fromkeys(PARTS, 0.0), Counter[Part]()
        devices: dict[str, None] = {}
        at_least = estimated = 0
        for entry in self._entries:
            if arms is not None and entry.arm not in arms:
                continue
            part = _part(entry, judged)
            runs[part] += 1
            devices |= dict.fromkeys(entry.devices)
            spent = entry.spent
            at_least += spent is None or not spent.is_whole
            if spent is None:
                continue
            estimated += spent.is_estimate
            parts[part] += spent.kept
            parts["tuning" if part == "tuning" else "thrown_away"] += spent.lost
        return {
            "unit": "device-seconds",
            "judged": round(parts["judged"], 1),
            "thrown_away": round(parts["thrown_away"], 1),
            "tuning": round(parts["tuning"], 1),
            "not_judged": round(parts["not_judged"], 1),
            "unfinished": round(parts["unfinished"], 1),
            "runs": {part: runs[part] for part in PARTS},
            "devices": sorted(devices),
            "at_least": at_least,
            "estimated": estimated,
        }


def _part(entry: _Entry, judged: Collection[ArmSeed]) -> Part:
    if entry.kind == "tuning":
        return "tuning"
    if entry.kind == "unfinished":
        return "unfinished"
    if entry.kind != "ended":
        return "thrown_away"
    return "judged" if (entry.arm, entry.seed) in judged else "not_judged"


def _listed(run: Run) -> _Entry:
    return _Entry(run.arm, run.seed, _kind(run.status), run.spent, run.devices)


def _kind(status: str) -> str:
    if status in ENDED:
        return "ended"
    return "failed" if status not in ("planned", "running") else "unfinished"


def _unlisted(run: OtherRun) -> _Entry:
    record = run.record
    devices = tuple(map(as_text, as_list(record.get("devices"))))
    seed = as_whole(record.get("seed"))
    return _Entry(as_text(record.get("arm")), seed, run.kind, spent_by(record), devices)
