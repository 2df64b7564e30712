"""The steps of one run, from wherever its state stands to the last one."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from xception_jax.data import Pipeline
from xception_jax.tracking import Tracker
from xception_jax.training.checkpoint import Checkpoints
from xception_jax.training.evaluation import Evaluator
from xception_jax.training.mesh import replicate, shard_batch
from xception_jax.training.setup import Schedule
from xception_jax.training.state import Sums, TrainState, zero_sums
from xception_jax.training.step import Outcome, Program, compile_train_step, shapes_of


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        phase: "compile", "train", "evaluate" or "done".
        step: optimizer steps known to be done.
        total_steps: of the run.
        epoch: passes over the training split.
        images_per_second: see `Stopwatch`.
        row: the last row of the log.
    """

    phase: str
    step: int
    total_steps: int
    epoch: float
    images_per_second: float | None = None
    row: dict[str, Any] | None = None


Listener = Callable[[Progress], None]


class Diverged(Exception):
    """The loss or a gradient was not finite: an outcome of the run, not an error of ours."""


class Interrupted(Exception):
    """The run was asked to stop, and has saved where it stands."""


class Stopwatch:
    """Images and seconds of this process's training steps, from one finished step to the next.

    Compilation, evaluation and checkpoints are left out, and so are the first steps after each,
    which only fill the queue of the devices.
    """

    def __init__(self) -> None:
        self._seconds, self._images, self._last = 0.0, 0, None  # type: tuple[float, int, Any]

    def pause(self) -> None:
        """The time until the next finished step does not count, nor do its images."""
        self._last = None

    def finished(self, images: int) -> None:
        """A step of so many images has just ended."""
        now = time.perf_counter()
        if self._last is not None:
            self._seconds += now - self._last
            self._images += images
        self._last = now

    def images_per_second(self) -> float | None:
        """The mean so far; None before a second step has ended."""
        return self._images / self._seconds if self._seconds else None


class _Dispatched(NamedTuple):
    """A step that the devices have been given; `sums` where it completes a row of the log."""

    step: int
    outcome: Outcome
    sums: Sums | None


@dataclass
class Loop:
    """Trains a run; its curve goes to the tracker, its states to the checkpoints.

    What a step says of itself is read after the next one is dispatched: the devices never wait
    for the host to read a number, and the host is never further ahead than one step.
    """

    program: Program
    schedule: Schedule
    seed: int
    mesh: Mesh
    pipeline: Pipeline
    evaluator: Evaluator
    tracker: Tracker
    checkpoints: Checkpoints
    listener: Listener
    stop: Callable[[], bool]
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    compile_seconds: float | None = None
    _dispatched: _Dispatched | None = None
    _last_row: dict[str, Any] | None = None

    def run(self, state: TrainState) -> TrainState:
        """Every step from the state's own to the last; the state given is used up.

        Raises:
            Diverged: a step was not finite.
            Interrupted: `stop` said so; the state is saved.
        """
        schedule, first = self.schedule, int(state.step)
        seed = replicate(jnp.int32(self.seed), self.mesh)
        resident = replicate(self.pipeline.resident.get("train", {}), self.mesh)
        batches = self.pipeline.train_batches(first)
        step_function = None
        for step in range(first + 1, schedule.total + 1):
            if self.stop():
                self._settle()
                self._save(step - 1, state, None)
                raise Interrupted(f"stopped after step {step - 1}")
            batch = shard_batch(next(batches), self.mesh)
            step_function = step_function or self._compile(first, resident, batch)
            state, outcome = step_function(state, resident, batch, seed)
            self._settle()
            row_is_due = schedule.due(schedule.log, step)
            self._dispatched = _Dispatched(step, outcome, state.sums if row_is_due else None)
            if row_is_due:
                state = replace(state, sums=replicate(zero_sums(), self.mesh))
            if schedule.due(schedule.evaluate, step) or schedule.due(schedule.checkpoint, step):
                self._settle()
                self._evaluate_and_save(step, state)
        return state

    def _settle(self) -> None:
        """Waits for the step dispatched last, and takes note of what it says.

        Raises:
            Diverged: it was not finite.
        """
        if self._dispatched is None:
            return
        step, outcome, sums = jax.device_get(self._dispatched)
        self._dispatched = None
        self.stopwatch.finished(self.schedule.examples_per_step)
        rate = float(outcome["learning_rate"])
        if not outcome["finite"]:
            raise Diverged(f"not finite at step {step}, where the learning rate is {rate:.4g}")
        if sums is not None:
            means = {
                name: float(sums[name] / sums["examples"]) for name in ("loss", "top1", "top5")
            }
            self._log(step, "train", means | {"learning_rate": rate})
        self._tell("train", step)

    def _evaluate_and_save(self, step: int, state: TrainState) -> None:
        """Rows up to this step are in the log before a checkpoint of it can exist."""
        metrics = None
        if self.schedule.due(self.schedule.evaluate, step):
            self._tell("evaluate", step)
            metrics = self.evaluator(state, "valid").metrics()
            self._log(step, "valid", metrics)
        if self.schedule.due(self.schedule.checkpoint, step):
            self._save(step, state, metrics)
        self.stopwatch.pause()

    def _save(self, step: int, state: TrainState, metrics: dict[str, float] | None) -> None:
        if self.checkpoints.latest_step != step:
            self.tracker.sync()
            self.checkpoints.save(step, state, metrics)

    def _compile(self, step: int, resident: Any, batch: Any) -> jax.stages.Compiled:
        self._tell("compile", step)
        start = time.perf_counter()
        compiled = compile_train_step(
            self.program, self.mesh, shapes_of(resident), shapes_of(batch)
        )
        self.compile_seconds = time.perf_counter() - start
        return compiled

    def _log(self, step: int, split: str, metrics: dict[str, float]) -> None:
        row = {"step": step, "epoch": self.schedule.epoch(step), "split": split, **metrics}
        self.tracker.log(row)
        self._last_row = row

    def _tell(self, phase: str, step: int) -> None:
        schedule, speed = self.schedule, self.stopwatch.images_per_second()
        self.listener(
            Progress(phase, step, schedule.total, schedule.epoch(step), speed, self._last_row)
        )
