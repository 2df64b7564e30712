"""What `sweep` says before and after its runs, and how it goes from look to look."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xception_jax.commands.console import console
from xception_jax.errors import DONE, FAILED

if TYPE_CHECKING:
    from xception_jax.statistics.looks import Looks
    from xception_jax.sweep import Experiment, PlannedRun

    Runs = Sequence[PlannedRun]


def size_line(experiment: "Experiment", runs: int) -> str:
    """How many arms, bases, seeds and runs a sweep has."""
    arms, bases = len(experiment.claimed_arms), experiment.bases
    on_bases = f" x {len(bases)} bases ({', '.join(bases)})" * bool(bases)
    return f"{experiment.name}: {arms} arms{on_bases} x {experiment.seeds} seeds = {runs} runs"


def seed_lines(experiment: "Experiment") -> list[str]:
    """Lines that say what the seeds of an experiment can decide, whatever comes out."""
    from xception_jax.statistics.decidable import describe_decidable

    claims, arms = experiment.described_claims(), experiment.claimed_arms
    return describe_decidable(claims, arms, experiment.seeds, declared_looks(experiment))


def declared_looks(experiment: "Experiment") -> "Looks | None":
    """The looks of an experiment; None: it has none."""
    from xception_jax.statistics.looks import Looks

    return Looks(experiment.looks, experiment.spending) if experiment.looks else None


def next_report(location: str) -> str:
    """What to run after a sweep, whose directory people call `location`."""
    return f"next: xception-jax report {shlex.quote(location)}"


def look_by_look(
    directory: Path,
    location: str,
    experiment: "Experiment",
    runs: "Runs",
    train: Callable[["Runs"], int],
) -> int:
    """Trains the runs of each look, until the claims are decided or the last look is done.

    An arm that no open claim compares gets no further seed. What is needed follows from the runs
    that have ended, so that the same command goes on wherever a sweep has stopped.

    Args:
        directory: directory of the sweep, which the caller has locked.
        location: what people call it; see `remote.as_typed`.
        experiment: experiment with looks.
        runs: all runs that it may need.
        train: records and trains runs, and returns an exit code.

    Returns:
        The exit code.
    """
    from xception_jax.records import ENDED
    from xception_jax.report.reading import read_directory
    from xception_jax.statistics.verdicts import open_arms
    from xception_jax.sweep.statuses import read_statuses

    needed: list[PlannedRun] = []
    arms, number, code = frozenset(experiment.arms), 0, DONE
    for number, count in enumerate(experiment.looks, 1):
        seeds = experiment.all_seeds[:count]
        known = {(run.arm, run.seed) for run in needed}
        needed += [
            run
            for run in runs
            if run.seed in seeds and run.arm in arms and (run.arm, run.seed) not in known
        ]
        going_on = ", ".join(arm for arm in experiment.arms if arm in arms)
        console.print(f"look {number} of {len(experiment.looks)}, at {count} seeds: {going_on}")
        code = train(needed)
        wanted = {(run.arm, run.seed) for run in needed}
        statuses = [r.status for r in read_statuses(directory) if (r.arm, r.seed) in wanted]
        if code not in (DONE, FAILED) or not set(statuses) <= set(ENDED):
            console.print(f"look {number} waits for its runs; the same command goes on with it")
            return code
        arms = open_arms(read_directory(directory))
        if not arms:
            break
    is_last = number == len(experiment.looks)  # after which no claim is open, decided or not
    left = "no look is left" if is_last else "every claim is decided"
    console.print(f"{left} after look {number} of {len(experiment.looks)}; {next_report(location)}")
    return code
