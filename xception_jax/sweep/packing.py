"""Packing: which runs of a sweep train together in one compiled program."""

import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from xception_jax.config import shared_settings, split_seed
from xception_jax.lock import is_locked
from xception_jax.records import CHECKPOINTS, ENDED
from xception_jax.runtime import run_directory as files
from xception_jax.sweep.experiment import PlannedRun
from xception_jax.training.checkpoint import saved_steps


@dataclass(frozen=True)
class Pack:
    """Runs that train together, or one run alone.

    Attributes:
        numbers: numbers of the runs in the sweep's order.
        slots: number of slots, at least one per run; None: a run alone, in a program without slots.
        chosen: how the number of slots was chosen, for the record.
    """

    numbers: tuple[int, ...]
    slots: int | None = None
    chosen: str = "given"

    def row(self, runs: Sequence[PlannedRun]) -> dict[str, Any]:
        """The row of the pack in `sweep.json`.

        Args:
            runs: all runs of the sweep.
        """
        directories = [runs[number].directory for number in self.numbers]
        return {"size": self.slots, "runs": directories, "chosen": self.chosen}


Sizes = Callable[[list[PlannedRun]], tuple[int, str]]


def plan_packs(
    directory: Path,
    runs: Sequence[PlannedRun],
    waiting: Sequence[int],
    *,
    recorded: Sequence[Mapping[str, Any]],
    sizes: Sizes | None,
    warn: Callable[[str], None],
    queued: Container[int] = (),
) -> list[Pack]:
    """The packs in which the waiting runs are to train, in the order of their first runs.

    A pack that has begun is formed again as it was, so that it goes on to the same bits. So is one
    that a batch system has: it may begin at any time, whatever is asked for by then.

    Args:
        directory: directory of the sweep.
        runs: all runs of the sweep.
        waiting: numbers of the runs that have not ended.
        recorded: the packs in `sweep.json`.
        sizes: takes runs that can train together; returns how many should, and how that was found.
            None: every run alone.
        warn: takes a line of text for people.
        queued: indices of the recorded packs that a batch system has.
    """
    numbers = {run.directory: number for number, run in enumerate(runs)}
    unassigned, packs = dict.fromkeys(waiting), []
    # What a batch system has comes first: rows that were recorded before may be of the same runs.
    for index, row in sorted(enumerate(recorded), key=lambda item: item[0] not in queued):
        in_pack = [numbers[name] for name in row["runs"] if name in numbers]
        unfinished = [number for number in in_pack if number in unassigned]
        again = Pack(tuple(in_pack), row["size"], str(row.get("chosen", "given")))
        is_whole = len(in_pack) == len(row["runs"])
        if index in queued:
            unassigned = {number: None for number in unassigned if number not in in_pack}
            packs += [again] if unfinished and is_whole else []  # else some are not asked for now
            continue
        if row["size"] is None:  # a run alone, recorded for a launcher
            continue
        if not unfinished or not _has_begun(directory, runs, unfinished):
            continue
        for number in unfinished:
            del unassigned[number]
        obstacle = _obstacle(directory, runs, in_pack, is_whole)
        if sizes is None:
            obstacle = "packing is off"
        if obstacle is None:
            packs.append(again)
            continue
        names = ", ".join(runs[number].name for number in unfinished)
        warn(f"{names} trained together and each go on alone: {obstacle}")
        packs += [Pack((number,)) for number in unfinished]
    for group in _groups(directory, runs, list(unassigned)):
        packs += [Pack((n,)) for n in group] if sizes is None else _split(runs, group, sizes)
    return sorted(packs, key=lambda pack: pack.numbers[0])


def even_size(runs: int, most: int) -> int:
    """The size, up to `most`, of equal packs that hold so many runs with the fewest empty slots."""
    return ceil(runs / ceil(runs / most))


def _split(runs: Sequence[PlannedRun], group: list[int], sizes: Sizes) -> list[Pack]:
    if len(group) == 1:
        return [Pack((group[0],))]
    size, chosen = sizes([runs[number] for number in group])
    if size == 1:
        return [Pack((number,), None, chosen) for number in group]
    parts = [tuple(group[first : first + size]) for first in range(0, len(group), size)]
    return [Pack(part, size, chosen) for part in parts]


def _groups(directory: Path, runs: Sequence[PlannedRun], numbers: list[int]) -> list[list[int]]:
    """The runs grouped by program, data and newest checkpoint; a locked run is its own group."""
    groups: dict[Any, list[int]] = {}
    for number in numbers:
        run_dir = directory / runs[number].directory
        step = max(saved_steps(run_dir / CHECKPOINTS), default=0)
        alone = number if is_locked(run_dir) else None
        shared = json.dumps(shared_settings(runs[number].config), sort_keys=True)
        data = split_seed(runs[number].config)
        groups.setdefault((shared, step, alone, data), []).append(number)
    return list(groups.values())


def _has_begun(directory: Path, runs: Sequence[PlannedRun], unfinished: Sequence[int]) -> bool:
    """Whether the unfinished runs of a pack have trained together, as far as there are records.

    A run whose record is gone may have, if others have; one that was resumed alone goes on alone.
    """
    run_dirs = [directory / runs[number].directory for number in unfinished]
    records = [files.read_run(run_dir) for run_dir in run_dirs]
    in_pack = [record.get("pack") is not None for record in records]
    if all(in_pack):
        return True
    known = [packed for packed, r in zip(in_pack, records, strict=True) if r["status"] != "planned"]
    return any(known) and all(known) and any(saved_steps(home / CHECKPOINTS) for home in run_dirs)


def _obstacle(
    directory: Path, runs: Sequence[PlannedRun], in_pack: Sequence[int], is_whole: bool
) -> str | None:
    """The reason why a pack that has begun cannot be formed again; None: it can."""
    if not is_whole:
        return "the sweep is asked for without some of the others"
    for number in in_pack:
        run_dir, name = directory / runs[number].directory, runs[number].name
        if is_locked(run_dir):
            return f"{name} is in use by another process"
        status = files.read_run(run_dir)["status"]
        if status in ENDED:
            continue
        if status == "planned" or not (run_dir / CHECKPOINTS).is_dir():
            return f"files of {name} are gone"
    return None
