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
        indices: indices of the runs in the sweep's order, from 0.
        slots: number of slots, at least one per run; None: a run alone, in a program without slots.
        chosen: how the number of slots was chosen, for the record.
    """

    indices: tuple[int, ...]
    slots: int | None = None
    chosen: str = "given"

    def row(self, runs: Sequence[PlannedRun]) -> dict[str, Any]:
        """The row of the pack in `sweep.json`.

        Args:
            runs: all runs of the sweep.
        """
        directories = [runs[index].directory for index in self.indices]
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
        waiting: indices of the runs that have not ended.
        recorded: the packs in `sweep.json`.
        sizes: takes runs that can train together; returns how many should, and how that was found.
            None: every run alone.
        warn: takes a line of text for people.
        queued: indices of the recorded packs that a batch system has.
    """
    indices = {run.directory: index for index, run in enumerate(runs)}
    unassigned, packs = dict.fromkeys(waiting), []
    # What a batch system has comes first: rows that were recorded before may be of the same runs.
    for pack_index, row in sorted(enumerate(recorded), key=lambda item: item[0] not in queued):
        in_pack = [indices[name] for name in row["runs"] if name in indices]
        unfinished = [index for index in in_pack if index in unassigned]
        again = Pack(tuple(in_pack), row["size"], str(row.get("chosen", "given")))
        is_whole = len(in_pack) == len(row["runs"])
        if pack_index in queued:
            unassigned = {index: None for index in unassigned if index not in in_pack}
            packs += [again] if unfinished and is_whole else []  # else some are not asked for now
            continue
        if row["size"] is None:  # a run alone, recorded for a launcher
            continue
        if not unfinished or not _has_begun(directory, runs, unfinished):
            continue
        for index in unfinished:
            del unassigned[index]
        obstacle = _obstacle(directory, runs, in_pack, is_whole)
        if sizes is None:
            obstacle = "packing is off"
        if obstacle is None:
            packs.append(again)
            continue
        names = ", ".join(runs[index].name for index in unfinished)
        warn(f"{names} trained together and each go on alone: {obstacle}")
        packs += [Pack((index,)) for index in unfinished]
    for group in _groups(directory, runs, list(unassigned)):
        packs += _split(runs, group, sizes) if sizes else [Pack((index,)) for index in group]
    return sorted(packs, key=lambda pack: pack.indices[0])


def even_size(runs: int, most: int) -> int:
    """The size, up to `most`, of equal packs that hold so many runs with the fewest empty slots."""
    return ceil(runs / ceil(runs / most))


def _split(runs: Sequence[PlannedRun], group: list[int], sizes: Sizes) -> list[Pack]:
    if len(group) == 1:
        return [Pack((group[0],))]
    size, chosen = sizes([runs[index] for index in group])
    if size == 1:
        return [Pack((index,), None, chosen) for index in group]
    parts = [tuple(group[first : first + size]) for first in range(0, len(group), size)]
    return [Pack(part, size, chosen) for part in parts]


def _groups(directory: Path, runs: Sequence[PlannedRun], indices: list[int]) -> list[list[int]]:
    """The runs grouped by program, data and newest checkpoint; a locked run is its own group."""
    groups: dict[Any, list[int]] = {}
    for index in indices:
        run_dir = directory / runs[index].directory
        step = max(saved_steps(run_dir / CHECKPOINTS), default=0)
        alone = index if is_locked(run_dir) else None
        shared = json.dumps(shared_settings(runs[index].config), sort_keys=True)
        data = split_seed(runs[index].config)
        groups.setdefault((shared, step, alone, data), []).append(index)
    return list(groups.values())


def _has_begun(directory: Path, runs: Sequence[PlannedRun], unfinished: Sequence[int]) -> bool:
    """Whether the unfinished runs of a pack have trained together, as far as there are records.

    A run whose record is gone may have, if others have; one that was resumed alone goes on alone.
    """
    run_dirs = [directory / runs[index].directory for index in unfinished]
    records = [files.read_run(run_dir) for run_dir in run_dirs]
    in_pack = [record.get("pack") is not None for record in records]
    if all(in_pack):
        return True
    known = [packed for packed, r in zip(in_pack, records, strict=True) if r["status"] != "planned"]
    if not known or not all(known):
        return False
    return any(saved_steps(run_dir / CHECKPOINTS) for run_dir in run_dirs)


def _obstacle(
    directory: Path, runs: Sequence[PlannedRun], in_pack: Sequence[int], is_whole: bool
) -> str | None:
    """The reason why a pack that has begun cannot be formed again; None: it can."""
    if not is_whole:
        return "the sweep is asked for without some of the others"
    for index in in_pack:
        run_dir, name = directory / runs[index].directory, runs[index].name
        if is_locked(run_dir):
            return f"{name} is in use by another process"
        status = files.read_run(run_dir)["status"]
        if status in ENDED:
            continue
        if status == "planned" or not (run_dir / CHECKPOINTS).is_dir():
            return f"files of {name} are gone"
    return None
