"""How a sweep's overhead grows with its runs: planning, scheduling, status, report, workers.

The runs are simulated: what trains them is left out, what they would leave is written. What is
flat has the same runs a second whatever their number.

Times are of the processor, so that they are the same on a busy machine; waiting for the disk is not
in them.
"""

import atexit
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case, Settings, Variant, Work
from benchmarks.startup import ROOT

EXPERIMENT = ROOT / "experiments" / "order.py"  # six arms, with claims
RUNS, QUICK_RUNS = (12, 120, 1200), (12,)
STAGES = {
    "plan": "planned and recorded",
    "resume": "planned again when all are done",
    "schedule": "submitted, watched and judged",
    "status": "status",
    "report": "report",
}
_ROWS = 40  # of each split, in a curve


def cases(settings: Settings) -> Iterator[Case]:
    """A case a stage; a variant a number of runs."""
    numbers = QUICK_RUNS if settings.quick else RUNS
    for stage, title in STAGES.items():
        variants = [
            Variant(f"{runs:,} runs", "benchmarks.growth:work", {"stage": stage, "runs": runs})
            for runs in numbers
        ]
        yield Case(title, "runs / CPU s", tuple(variants), once=True)
    starts = [
        Variant(f"in a sweep of {runs:,} runs", "benchmarks.growth:worker_start", {"runs": runs})
        for runs in numbers
    ]
    yield Case("a worker whose run is done, from start to end, CPU", "s", tuple(starts), once=True)


def work(*, stage: str, runs: int) -> Work:
    """One stage of a sweep of so many runs, as often as is asked."""
    sweep = _Sweep(runs)
    if stage != "plan":
        sweep.plan()
    if stage in ("resume", "status", "report"):
        sweep.finish()
    timed: Callable[[], None] = getattr(sweep, stage)

    def run(times: int) -> float:
        seconds = 0.0
        for _ in range(times):
            sweep.prepare(stage)
            before = time.process_time()
            timed()
            seconds += time.process_time() - before
        return seconds

    return Work(run, runs)


def worker_start(*, runs: int) -> Work:
    """The command of a worker that finds nothing left to do."""
    sweep = _Sweep(runs)
    sweep.plan()
    sweep.finish()
    command = [*sweep.units[-1].command]

    def run(times: int) -> float:
        before = os.times()
        for _ in range(times):
            subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        user, system = (after[n] - before[n] for n in (2, 3))  # of processes that have ended
        return user + system

    return Work(run, 1)


class _Sweep:
    """A sweep in a directory of its own."""

    def __init__(self, runs: int) -> None:
        from xception_jax.sweep import load_experiment

        self.directory = Path(tempfile.mkdtemp(prefix="xception-jax-benchmarks-"))
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        experiment, self.base = load_experiment(EXPERIMENT)
        self.experiment = replace(experiment, seeds=runs // len(experiment.arms))
        self.units: list[Any] = []

    def prepare(self, stage: str) -> None:
        """Brings the sweep into the state that a stage finds when it begins."""
        if stage == "plan":
            shutil.rmtree(self.directory)
        elif stage == "schedule":
            for unit in self.units:
                (unit.run_dirs[0] / "run.json").unlink(missing_ok=True)

    def plan(self) -> None:
        """From the experiment to units, as the command does before anything trains."""
        from xception_jax.launchers.launching import plan_units
        from xception_jax.sweep import plan_runs
        from xception_jax.sweep.ledger import write_ledger

        self.directory.mkdir(exist_ok=True)
        self.runs = plan_runs(self.experiment, self.base)
        command = "python -m benchmarks growth"
        write_ledger(self.directory, self.experiment, self.base, self.runs, command)
        units = plan_units(self.directory, self.runs, sizes=None, warn=print)
        self.units = self.units or units

    resume = plan

    def schedule(self) -> None:
        """Everything the driver does for the runs while others train them."""
        from xception_jax.launchers.supervision import Supervisor

        Supervisor(self.units, _Instant(), retries=0, warn=print).run(lambda: False)

    def status(self) -> None:
        """How every run stands, as `xception-jax status` finds it."""
        from xception_jax.sweep.statuses import read_statuses

        assert {run.status for run in read_statuses(self.directory)} == {"done"}

    def report(self) -> None:
        """The page, the figures, the tables and the verdicts."""
        from xception_jax.report import write_report

        write_report(self.directory)

    def finish(self) -> None:
        """Writes the files that the runs would have left."""
        rng = np.random.default_rng(0)
        for run in self.runs:
            _leave(self.directory / run.directory, run, rng)


class _Instant:
    """A launcher whose units have ended when they are asked for, each by a word in its run.json."""

    most: int | None = None

    def submit(self, unit: Any, avoid: Collection[str]) -> None:  # noqa: ARG002 - there is one place
        (unit.run_dirs[0] / "run.json").write_text('{"status": "diverged"}')

    def status(self, unit: Any) -> Any:  # noqa: ARG002 - all have ended
        from xception_jax.launchers import Ended

        return Ended(0)

    def logs(self, unit: Any) -> str:  # noqa: ARG002 - nothing was said
        return ""

    def cancel(self, unit: Any) -> None:
        pass

    def nodes(self) -> set[str]:
        return {""}

    def close(self) -> None:
        pass


def _leave(home: Path, run: Any, rng: np.random.Generator) -> None:
    from xception_jax.runtime import run_directory as files

    top1 = 0.9 - 0.5 * np.exp(-np.arange(1, _ROWS + 1) / 8) + rng.normal(0, 0.005)
    rows = [
        {"step": 20 * n, "epoch": n / 10, "split": split, "loss": 1 - value, "top1": value}
        for n, value in enumerate(top1.tolist(), 1)
        for split in ("train", "valid")
    ]
    (home / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    final = {"split": "test", "loss": 0.3, "top1": float(top1[-1]), "top5": 0.99, "examples": 2000}
    files.update_run(
        home, status="done", steps=20 * _ROWS, epochs=4.0, result=final, name=run.name,
        metric="top1", classes=10, parameters=100_000, images_per_second=4000.0,
        examples={"train": 10800, "valid": 1200, "test": 2000},
        started=files.now(), ended=files.now(), **files.provenance(),
    )  # fmt: skip
