"""kill -9, again and again, at every kind of moment, until a sweep has ended all the same."""

import os
import random
import time
from pathlib import Path

import pytest

from tests.faults.fault_checks import (
    assert_undisturbed,
    has_ended,
    last_steps,
    resumed,
    rows,
    run_dirs,
)
from tests.faults.small_sweep import INTERVAL, Command, sweep_words

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("FAULTS_KILLS", "50"))
MOMENTS = ("start-up", "compile", "step", "checkpoint", "evaluation", "between runs")


class Moment:
    """When to kill: `reached()` is asked again and again, then the kill is `delay` s later."""

    def __init__(self, name: str, sweep: Path, command: Command, rng: random.Random) -> None:
        self.name, self.sweep, self.command = name, sweep, command
        self.before = rows(sweep)
        self.ended = sum(map(has_ended, run_dirs(sweep)))
        self.more = rng.randrange(1, 8)
        self.delay = {"start-up": rng.uniform(0, 4), "compile": rng.uniform(0, 1)}.get(
            name, rng.uniform(0, 0.03)
        )

    def reached(self) -> bool:
        if self.name == "start-up":
            return True
        if self.name == "compile":
            return "compiling" in self.command.out
        if self.name == "step":
            return rows(self.sweep) >= self.before + self.more
        if self.name == "checkpoint":
            moved = rows(self.sweep) > self.before
            return moved and any(self.sweep.glob("runs/*/checkpoints/*checkpoint-tmp*"))
        if self.name == "evaluation":  # the final one: the last checkpoint is there, no result
            return any(
                (home / "checkpoints" / "36").exists() and not has_ended(home)
                for home in run_dirs(self.sweep)
            )
        return sum(map(has_ended, run_dirs(self.sweep))) > self.ended


def kill_once(sweep: Path, command: Command, moment: Moment) -> bool:
    """Kills a command at a moment; returns False if it ended before that came."""
    end = time.monotonic() + 600
    while not moment.reached():
        if command.process.poll() is not None:
            return False
        assert time.monotonic() < end, moment.name
        time.sleep(0.003)
    time.sleep(moment.delay)
    if command.process.poll() is not None:
        return False
    command.kill()
    return True


@pytest.mark.promise(
    "A sweep that is killed at any moment and started again ends with the same bits as an "
    "undisturbed one: parameters, predictions and every row"
)
@pytest.mark.parametrize("packing", ["off", "3"])
def test_kills_change_nothing(packing, command, reference, tmp_path, record_property):
    """Kill -9 at random moments of a sweep.

    The moments: start-up, compilation, a step, a checkpoint, the final evaluation, between runs.
    Afterwards no step is double or missing, no orphan process and no temporary file is left, and
    each kill has repeated at most two checkpoint intervals.
    """
    expected, rng = reference(packing), random.Random(f"{packing} 7")
    kills, repeated, rounds, seen = 0, 0, 0, dict.fromkeys(MOMENTS, 0)
    wanted = max(1, KILLS // 2)
    while kills < wanted:
        assert rounds < 4 * wanted, f"some moment never comes: {seen}"
        sweep, rounds = tmp_path / f"sweep-{rounds}", rounds + 1
        code = None
        while code is None:
            before, logged = resumed(sweep), last_steps(sweep)
            one = command(*sweep_words(sweep, packing))
            name = min(MOMENTS, key=lambda name: (seen[name], rng.random()))
            if kills < wanted and kill_once(sweep, one, Moment(name, sweep, one, rng)):
                kills, seen[name] = kills + 1, seen[name] + 1
            else:
                code = one.finish()
                assert code == 0, one.err
            for run, steps in resumed(sweep).items():
                for step in steps[len(before.get(run, [])) :]:
                    lost = logged[run] - step
                    assert lost <= 2 * INTERVAL, (run, logged, step)
                    repeated += max(0, lost)
        assert_undisturbed(expected, sweep)
    record_property("times", kills)
    record_property("moments", seen)
    record_property("repeated_steps", repeated)


@pytest.mark.promise("The same command writes the report again after it was killed")
def test_a_killed_report_is_written_anew(command, reference, record_property, tmp_path):
    """Kill -9 at random moments of `report`; its table then equals an undisturbed one."""
    sweep, rng = reference("off"), random.Random(3)
    started = time.monotonic()
    assert command("report", sweep).finish() == 0
    seconds = time.monotonic() - started
    table = (sweep / "report" / "results.csv").read_bytes()
    killed = 0
    for _ in range(30):  # some will have ended before they are killed
        one = command("report", sweep)
        time.sleep(rng.uniform(0.2, 1) * seconds)
        killed += one.process.poll() is None
        one.kill()
        if killed == 3:
            break
    assert killed == 3
    assert command("report", sweep).finish() == 0
    assert (sweep / "report" / "results.csv").read_bytes() == table
    record_property("times", 3)
