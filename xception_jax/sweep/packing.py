"""Which runs of a sweep train together in one compiled program."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from xception_jax.config import shared_settings
from xception_jax.records import CHECKPOINTS, ENDED, RUN
from xception_jax.runtime import run_directory as files
from xception_jax.runtime.lock import is_locked
from xception_jax.sweep.experiment import PlannedRun
from xception_jax.training.checkpoint import saved_steps


@dataclass(frozen=True)
class Pack:
    """Runs that train together, or one alone.

    Attributes:
        numbers: of the runs in the sweep's order.
        slots: at least as many; None: a run alone, in a program without slots.
        chosen: how the number of slots came about, for the record.
    """

    numbers: tuple[int, ...]
    slots: int | None = None
    chosen: str = "given"

    def row(self, runs: Sequence[PlannedRun]) -> dict[str, Any]:
        """What `sweep.json` says of it."""
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
    """How the waiting runs are to train, in the order of their first.

    A pack that has begun is formed again as it was, so that it goes on to the same bits.

    Args:
        directory: of the sweep.
        runs: all of the sweep's.
        waiting: numbers of those that have not ended.
        recorded: the packs in `sweep.json`.
        sizes: of runs that can train together, how many should, and how that was found; None: every
            run alone.
        warn: takes a line of text for people.
    """
    numbers = {run.directory: number for number, run in enumerate(runs)}
    left, packs = dict.fromkeys(waiting), []
    for row in recorded:
        if row["size"] is None:  # a run alone, recorded for a launcher
            continue
        members = [numbers[name] for name in row["runs"] if name in numbers]
        going = [number for number in members if number in left]
        if not going or not all(_is_packed(directory / runs[n].directory) for n in going):
            continue  # ended, not begun, or taken over as single runs
        for number in going:
            del left[number]
        obstacle = "packing is off" if sizes is None else _obstacle(directory, runs, row, members)
        if obstacle is None:
            packs.append(Pack(tuple(members), row["size"], str(row.get("chosen", "given"))))
            continue
        names = ", ".join(runs[number].name for number in going)
        warn(f"{names} trained together and each go on alone: {obstacle}")
        packs += [Pack((number,)) for number in going]
    for group in _groups(directory, runs, list(left)):
        packs += [Pack((n,)) for n in group] if sizes is None else _split(runs, group, sizes)
    return sorted(packs, key=lambda pack: pack.numbers[0])


def even_size(runs: int, most: int) -> int:
    """Slots of packs of at most `most` that hold so many runs with the fewest slots left over."""
    return ceil(runs / ceil(runs / most))


def _split(runs: Sequence[PlannedRun], group: list[int], sizes: Sizes) -> list[Pack]:
    if len(group) == 1:
        return [Pack((group[0],))]
    size, chosen = sizes([runs[number] for number in group])
    if size == 1:
        return [Pack((number,), None, chosen) for number in group]
    parts = [tuple(group[first : first + size]) for first in range(0, len(group), size)]
    return [Pack(part, size, chosen) for part in parts]


def _groups(directory: Path, runs: Sequence[PlannedRun], left: list[int]) -> list[list[int]]:
    """Runs that can train together: of one program, standing at one step, held by no one else."""
    groups: dict[Any, list[int]] = {}
    for number in left:
        home = directory / runs[number].directory
        step = max(saved_steps(home / CHECKPOINTS), default=0)
        own = number if is_locked(home) else None
        shared = json.dumps(shared_settings(runs[number].config), sort_keys=True)
        groups.setdefault((shared, step, own), []).append(number)
    return list(groups.values())


def _is_packed(home: Path) -> bool:
    """Whether the run has begun in a pack, as far as its files are there to say so."""
    return not (home / RUN).exists() or files.read_run(home).get("pack") is not None


def _obstacle(
    directory: Path, runs: Sequence[PlannedRun], row: Mapping[str, Any], members: list[int]
) -> str | None:
    """Why a pack that has begun cannot be formed again; None: it can."""
    if len(members) != len(row["runs"]):
        return "the sweep is asked for without some of the others"
    for number in members:
        home, name = directory / runs[number].directory, runs[number].name
        if is_locked(home):
            return f"{name} is in use by another process"
        if files.read_run(home)["status"] in ENDED:
            continue
        if not (home / RUN).exists() or not (home / CHECKPOINTS).is_dir():
            return f"files of {name} are gone"
    return None
