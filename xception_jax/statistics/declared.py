"""Decisions that a sweep's record and its runs show to have been made before there were results.

`sweep.json` keeps every declaration with its time and with what was known of the runs by then. The
runs tell when they began and ended, and which claims were declared when they began. Claims count as
declared before the runs, and seeds as planned, only where all of this agrees.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from xception_jax.checksums import digest, has_valid_checksum
from xception_jax.json_values import as_list, as_mapping, as_text, as_whole
from xception_jax.records import ENDED
from xception_jax.statistics.looks import Looks, read_looks
from xception_jax.statistics.results import Sweep

_CLOCKS_AGREE = timedelta(minutes=1)
"""Difference between the clocks of the machine that declares and of those that train."""


@dataclass(frozen=True)
class Declared:
    """The seeds, claims and looks that were decided before there were results.

    Attributes:
        seeds: the planned seeds, in order; None: nothing shows that any were planned.
        seeds_doubt: the reason why nothing shows it; empty: something does.
        claims_doubt: the reason why no claim counts as declared before the runs; empty: those of
            `experiment` in `sweep.json` do.
        looks: numbers of the planned seeds at which claims are judged; None: with all at once.
    """

    seeds: tuple[int, ...] | None
    seeds_doubt: str
    claims_doubt: str
    looks: Looks | None = None


@dataclass(frozen=True)
class Plan:
    """The seeds of one claim, as they were planned and as they came out.

    Attributes:
        planned: seeds declared before there were results, pilot seeds excluded.
        missing: planned seeds that are not tested.
        added: tested seeds that were declared when there were results.
        doubt: the reason why nothing shows that any seed was planned; empty: something does.
    """

    planned: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    doubt: str = ""


def read_declared(sweep: Sweep) -> Declared:
    """Reads what a sweep decided before there were results, as far as its files show."""
    sweep = sweep.whole or sweep
    history = [as_mapping(entry) for entry in as_list(sweep.record.get("declarations"))]
    doubt = _history_doubt(history)
    if doubt:
        return Declared(None, doubt, doubt)
    seeds_entry = _last(history, "results", "reported")
    seeds_doubt = _seeds_doubt(sweep, seeds_entry)
    seeds = tuple(
        sorted(
            seed
            for recorded in as_list(seeds_entry.get("seeds"))
            if (seed := as_whole(recorded)) is not None
        )
    )
    claims_doubt = _claims_doubt(sweep, _last(history, "begun", "reported"))
    if seeds_doubt:
        return Declared(None, seeds_doubt, claims_doubt)
    return Declared(seeds, "", claims_doubt, read_looks(seeds_entry, len(seeds)))


def needed_runs(sweep: Sweep) -> set[tuple[str, int | None]]:
    """Arm and seed of every run of the whole sweep.

    With declared looks, an arm may need fewer seeds than others: then those that are listed.
    """
    if read_declared(sweep).looks is not None:
        return {(run.arm, run.seed) for run in sweep.runs}
    return set(itertools.product(sweep.arms, {run.seed for run in sweep.runs} - {None}))


def plan_of(
    declared: Declared, present: Sequence[int], tested: Sequence[int], *, pilot_seeds: int = 0
) -> Plan:
    """The seeds of a claim as planned, compared with those that it is tested on.

    Args:
        declared: what was decided before there were results.
        present: seeds that all arms of the claim have a run of, in order.
        tested: the seeds that the claim is tested on.
        pilot_seeds: number of first seeds that are not tested.
    """
    pilot = set(present[:pilot_seeds])
    seeds = present if declared.seeds is None else declared.seeds
    planned = tuple(seed for seed in seeds if seed not in pilot)
    return Plan(
        planned=planned,
        missing=tuple(seed for seed in planned if seed not in tested),
        added=tuple(seed for seed in tested if seed not in planned),
        doubt=declared.seeds_doubt,
    )


def describe_history(sweep: Sweep) -> str:
    """The declarations of a sweep in one line, oldest first; empty where it has recorded none.

    `2026-01-02T03:04:05+00:00: seeds 6, claims 2; …: seeds 7, claims 2, runs begun 12, with
    results 12`
    """
    lines = []
    for entry in map(as_mapping, as_list(sweep.record.get("declarations"))):
        seeds, claims = (len(as_list(entry.get(name))) for name in ("seeds", "claims"))
        line = f"{as_text(entry.get('at'))}: seeds {seeds}, claims {claims}"
        known = as_mapping(entry.get("known"))
        results, begun = as_whole(known.get("results")), as_whole(known.get("begun"))
        if results or begun:
            line += f", runs begun {begun}, with results {results}"
        lines.append(line)
    return "; ".join(lines)


def _history_doubt(history: Sequence[Mapping[str, Any]]) -> str:
    """The reason why the declarations show nothing; empty: they are whole."""
    if not history:
        return "sweep.json does not say when they were declared"
    previous = None
    for entry in history:
        is_whole = "sha256" in entry and has_valid_checksum(entry)
        if not is_whole or entry.get("previous") != previous or read_time(entry.get("at")) is None:
            return "the declarations in sweep.json were changed"
        previous = entry["sha256"]
    return ""


def _last(history: Sequence[Mapping[str, Any]], *names: str) -> Mapping[str, Any]:
    """The last declaration made when nothing of this kind was known; empty: there is none."""
    for entry in reversed(history):
        known = as_mapping(entry.get("known"))
        if not any(known.get(name, True) for name in names):
            return entry
    return {}


def _seeds_doubt(sweep: Sweep, entry: Mapping[str, Any]) -> str:
    if not entry:
        return "they were declared when there were results already"
    ends = (run.ended for run in sweep.runs if run.status in ENDED)
    if is_late(entry, ends):
        return "runs had ended before they were declared"
    return ""


def _claims_doubt(sweep: Sweep, entry: Mapping[str, Any]) -> str:
    claims = as_list(as_mapping(sweep.record.get("experiment")).get("claims"))
    checksum = sweep.record.get("claims_sha256")
    if not entry:
        return "they were declared when runs had begun"
    if checksum != digest(claims) or checksum != digest(entry.get("claims")):
        return "the claims in sweep.json were changed"
    for run in sweep.runs:
        if run.claims_sha256 not in (None, checksum):
            return f"{run.arm} with seed {run.seed} began under other claims"
    if is_late(entry, (run.started for run in sweep.runs if run.status != "planned")):
        return "runs had begun before they were declared"
    return ""


def is_late(entry: Mapping[str, Any], times: Iterable[str | None]) -> bool:
    """Whether any of these times lies before the declaration's."""
    at = read_time(entry.get("at"))
    known = [time for text in times if (time := read_time(text)) is not None]
    return at is not None and any(at - time > _CLOCKS_AGREE for time in known)


def read_time(text: object) -> datetime | None:
    """A time in ISO 8601, of UTC where it does not say; None where it is none."""
    try:
        time = datetime.fromisoformat(as_text(text))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
