"""Packing: which runs of a sweep train together in one compiled program."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from xception_jax.config import shared_settings, split_seed
from xception_jax.lock import is_locked
from xception_jax.records import CHECKPOINTS, ENDED, RUN
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
) -> list[Pack]:
    """The packs in which the waiting runs are to train, in the order of their first runs.

    A pack that has begun is formed again as it was, so that it goes on to the same bits.

    Args:
        directory: directory of the sweep.
        runs: all runs of the sweep.
        waiting: numbers of the runs that have not ended.
        recorded: the packs in `sweep.json`.
        sizes: takes runs that can train together; returns how many should, and how that was found.
            None: every run alone.
        warn: takes a line of text for people.
    """
    numbers = {run.directory: number for number, run in enumerate(runs)}
    unassigned, packs = dict.fromkeys(waiting), []
    for row in recorded:
        if row["size"] is None:  # a run alone, recorded for a launcher
            continue
        in_pack = [numbers[name] for name in row["runs"] if name in numbers]
        unfinished = [number for number in in_pack if number in unassigned]
        if not unfinished or not all(_is_packed(directory / runs[n].directory) for n in unfinished):
            continue  # all ended, not begun, or resumed as single runs
        for number in unfinished:
            del unassigned[number]
        obstacle = "packing is off" if sizes is None else _obstacle(directory, runs, row, in_pack)
        if obstacle is None:
            packs.append(Pack(tuple(in_pack), row["size"], str(row.get("chosen", "given"))))
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


def _is_packed(run_dir: Path) -> bool:
    """Whether the run has begun in a pack; also true where its `run.json` is gone."""
    return not (run_dir / RUN).exists() or files.read_run(run_dir).get("pack") is not None


def _obstacle(
    directory: Path, runs: Sequence[PlannedRun], row: Mapping[str, Any], in_pack: list[int]
) -> str | None:
    """The reason why a pack that has begun cannot be formed again; None: it can."""
    if len(in_pack) != len(row["runs"]):
        return "the sweep is asked for without some of the others"
    for number in in_pack:
        run_dir, name = directory / runs[number].directory, runs[number].name
        if is_locked(run_dir):
            return f"{name} is in use by another process"
        if files.read_run(run_dir)["status"] in ENDED:
            continue
        if not (run_dir / RUN).exists() or not (run_dir / CHECKPOINTS).is_dir():
            return f"files of {name} are gone"
    return None
