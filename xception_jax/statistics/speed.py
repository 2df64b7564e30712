"""Training speed by measurement: a pack trains in one program, so it is measured once.

Each run of a pack records the same number, its share of the pack's rate. Several of them are one
measurement, and say nothing of how speeds scatter.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from xception_jax.statistics.descriptive import Mean
from xception_jax.statistics.results import Run


@dataclass(frozen=True)
class Speed:
    """The training speed of some runs.

    Attributes:
        images_per_second: mean rate of one run, over measurements; without a deviation for fewer
            than two.
        packs: number of the measurements that are of packs.
        alone: number of those that are of runs alone.
    """

    images_per_second: Mean
    packs: int
    alone: int

    @classmethod
    def of(cls, runs: Iterable[Run]) -> "Speed":
        """The speed of those runs that have recorded one."""
        measured: dict[Hashable, list[float]] = {}
        for at, run in enumerate(runs):
            if run.images_per_second is not None:
                measured.setdefault(_program(run) or at, []).append(run.images_per_second)
        shares = [sum(values) / len(values) for values in measured.values()]
        packs = sum(isinstance(key, tuple) for key in measured)
        return cls(Mean.of(shares), packs, len(measured) - packs)


def measurements(runs: Iterable[Run]) -> list[int | None]:
    """The number of each run's measurement, from 1; None where no speed was recorded."""
    numbers: dict[Hashable, int] = {}
    by_run: list[int | None] = []
    for at, run in enumerate(runs):
        key = _program(run) or at
        known = run.images_per_second is not None
        by_run.append(numbers.setdefault(key, len(numbers) + 1) if known else None)
    return by_run


def sharing_arms(runs: Iterable[Run]) -> list[str]:
    """The arms of which runs trained in one program with runs of other arms, in order."""
    by_program: dict[Hashable, dict[str, None]] = {}
    for run in runs:
        if run.images_per_second is not None and (key := _program(run)):
            by_program.setdefault(key, {})[run.arm] = None
    shared = (arms for arms in by_program.values() if len(arms) > 1)
    return list(dict.fromkeys(arm for arms in shared for arm in arms))


def _program(run: Run) -> tuple[object, ...] | None:
    """A key that the runs of a pack share with no others; None for a run alone.

    A record that does not name the runs of its pack is taken to be of one pack with all others of
    the same size and speed: that counts too few measurements, and never too many.
    """
    if run.pack is None:
        return None
    return (run.pack, run.pack_runs) if run.pack_runs else (run.pack, run.images_per_second)
