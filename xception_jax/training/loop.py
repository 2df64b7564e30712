"""The training loop of a run or a pack: steps, logs, validations and checkpoints in turn."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from xception_jax.data import Batch
from xception_jax.runtime import hosts
from xception_jax.runtime.profiling import StepProfiler
from xception_jax.runtime.stopwatch import Stopwatch
from xception_jax.runtime.watchdog import Watchdog
from xception_jax.training.compile import compile_together, compile_train_steps, shapes_of
from xception_jax.training.divergence import find_origin
from xception_jax.training.evaluate import Evaluator
from xception_jax.training.run_writer import RunWriter
from xception_jax.training.setup import Schedule
from xception_jax.training.sharding import Layout, replicate
from xception_jax.training.state import Hyperparameters, Sums, TrainState, zero_sums
from xception_jax.training.step import Outcome, StepSpec


@dataclass(frozen=True)
class Progress:
    """The progress of a run, or of the runs of a pack, as a listener is told it.

    Attributes:
        phase: "compile", "train", "evaluate" or "diverged".
        step: number of optimizer steps known to be done.
        total_steps: number of steps of the run.
        epoch: passes over the training split so far.
        images_per_second: mean rate of all runs of the pack together; None: not known yet.
        row: the last row of the log; in a pack the mean over its runs.
    """

    phase: str
    step: int
    total_steps: int
    epoch: float
    images_per_second: float | None = None
    row: dict[str, Any] | None = None


Listener = Callable[[Progress], None]


class Interrupted(Exception):
    """The run was asked to stop, and has saved where it stands."""


class _Dispatched(NamedTuple):
    """Steps that were dispatched together, the last one `step`; `sums` if a log row ends there."""

    step: int
    steps: int
    outcome: Outcome
    sums: Sums | None


@dataclass
class Loop:
    """The training loop; curves go to the runs' logs, states to their checkpoints.

    What a step returns is read after the next one is dispatched: the devices never wait for the
    host to read a number, and the host is never further ahead than one dispatched call. A transfer
    guard refuses whatever would pass to the devices, or wait for them, without being asked.

    Attributes:
        step_spec: what is fixed in the compiled step of the runs.
        layout: how the arrays of the runs lie on the devices.
        schedule: when rows, validations and checkpoints are due.
        writers: the runs by slot; slots beyond them are padding.
        hparams: the runs' hyperparameters, on the devices.
        evaluator: evaluates the runs' states.
        listener: called after every dispatched call.
        stop: asked before every dispatched call.
        warn: takes a line of text for people.
        watchdog: told of every call that has ended, and of what comes between them.
        steps_per_dispatch: training steps per dispatched call, at most; rows, validations and
            checkpoints end one.
        stopwatch: measures the steps.
        compile_seconds: seconds that compilation took; None: nothing has been compiled yet.
    """

    step_spec: StepSpec
    layout: Layout
    schedule: Schedule
    writers: list[RunWriter]
    hparams: Hyperparameters
    evaluator: Evaluator
    listener: Listener
    stop: Callable[[], bool]
    warn: Callable[[str], None]
    watchdog: Watchdog
    steps_per_dispatch: int
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    compile_seconds: float | None = None
    _active_at_start: int = 1
    _dispatched: _Dispatched | None = None
    _last_row: dict[str, Any] | None = None

    def run(self, state: TrainState, step: int) -> TrainState:
        """Takes every step after `step` to the last, while a run is active.

        Args:
            state: the runs' states on the devices; its buffers are donated.
            step: number of steps that it has taken.

        Raises:
            Interrupted: `stop` said so; the states are saved.
        """
        schedule, mesh = self.schedule, self.layout.mesh
        device_data = replicate(self.writers[0].pipeline.device_data.get("train", {}), mesh)
        batches = self._batches(step)
        is_active = [np.bool_(writer.active) for writer in self.writers]
        active: Any = self.layout.stack(self.layout.fill(is_active, np.bool_(False)))
        train_steps, self._active_at_start = None, len(self._active_writers())
        steps_to_profile = self.writers[0].config.train.profile_steps
        with closing(StepProfiler(steps_to_profile, self.writers[0].profile_directory)) as profiler:
            while step < schedule.total and self._active_writers():
                if self.stop():
                    self._read_dispatched(state)
                    self._save(step, state, {})
                    raise Interrupted(f"stopped after step {step}")
                count = self._until_due(step)
                next_batches = [next(batches) for _ in range(count)]
                rows = self._put(next_batches)
                train_steps = train_steps or self._compile(step, device_data, rows)
                profiler.before(step, count)
                steps = replicate(np.int32(count), mesh)
                # On a GPU or TPU every transfer that is not asked for would be a wait.
                with (
                    jax.transfer_guard("disallow"),
                    jax.profiler.StepTraceAnnotation("train", step_num=step),
                ):
                    state, outcome = train_steps(
                        state, active, device_data, rows, steps, self.hparams
                    )
                self._note_batches(step, next_batches)
                active, step = outcome.active, step + count
                self._read_dispatched(state)
                row_is_due = schedule.due(schedule.log, step)
                self._dispatched = _Dispatched(
                    step, count, outcome, state.sums if row_is_due else None
                )
                if row_is_due:
                    sums = self.layout.stack(self.layout.fill([], zero_sums()))
                    state = replace(state, sums=sums)
                profiler.after(step, state)
                if schedule.due(schedule.evaluate, step) or schedule.due(schedule.checkpoint, step):
                    self._read_dispatched(state)
                    self._evaluate_and_save(step, state)
        return state

    def speed(self) -> dict[str, Any]:
        """What `run.json` records of speed: one run's share of the rate, and compilation."""
        speed, seconds = self.stopwatch.images_per_second(), self.compile_seconds
        active = self._active_at_start
        share = {} if speed is None else {"images_per_second": round(speed / active, 1)}
        slow = {"slow_steps": self.stopwatch.slow} if self.stopwatch.slow else {}
        return share | slow | ({} if seconds is None else {"compile_seconds": round(seconds, 2)})

    def _active_writers(self) -> list[tuple[int, RunWriter]]:
        """The slot and the writer of every run that has not ended."""
        return [(slot, writer) for slot, writer in enumerate(self.writers) if writer.active]

    def _until_due(self, step: int) -> int:
        """The number of steps of the next call, which ends where a row or more is due."""
        schedule = self.schedule
        periods = (schedule.log, schedule.evaluate, schedule.checkpoint)
        for count in range(1, self.steps_per_dispatch):
            if any(schedule.due(period, step + count) for period in periods):
                return count
        return min(self.steps_per_dispatch, schedule.total - step)

    def _batches(self, step: int) -> Iterator[Batch]:
        """The global batches after `step`: [slots, batch, …], or [batch, …] of a run alone."""
        iterators = [writer.pipeline.train_batches(step) for writer in self.writers]
        for batches in zip(*iterators, strict=True):
            if self.layout.slots is None:
                yield batches[0]
            else:
                filled = self.layout.fill(batches, batches[0])
                yield {name: np.stack([batch[name] for batch in filled]) for name in batches[0]}

    def _put(self, batches: list[Batch]) -> dict[str, jax.Array]:
        """Puts batches on the devices, the last repeated up to the number that a call takes."""
        repeated = batches + batches[-1:] * (self.steps_per_dispatch - len(batches))
        parts = self.step_spec.consecutive_parts
        rows = {name: np.stack([batch[name] for batch in repeated]) for name in batches[0]}
        return self.layout.put(self.layout.interleave_shards(rows, parts), self.layout.steps_spec)

    def _note_batches(self, step: int, batches: list[Batch]) -> None:
        """Adds the batches dispatched after `step` to the `pairing.json` of each run."""
        alone = jax.process_count() == 1
        for number, batch in enumerate(batches, start=step):
            sent = batch.get("index") if alone else None  # of several processes, a part
            for slot, writer in self._active_writers():
                if sent is None:
                    indices = writer.pipeline.train_indices(number)
                else:
                    indices = sent if self.layout.slots is None else sent[slot]
                writer.add_batch(number + 1, indices)

    def _read_dispatched(self, state: TrainState) -> None:
        """Waits for the last dispatched steps, logs their row and ends the runs that diverged.

        Args:
            state: the newest states; that of a run that has diverged is from before the step.
        """
        if self._dispatched is None:
            return
        step, steps, outcome, sums = jax.device_get(self._dispatched)
        self._dispatched = None
        active = self._active_writers()
        images = steps * self.schedule.examples_per_step * len(active)
        if (slow := self.stopwatch.finished(images, steps)) and self.stopwatch.slow == 1:
            usual = self.stopwatch.usual()
            self.warn(f"step {step} took {slow:.1f} s, and {usual:.2g} s is usual")
        outcome, sums = jax.tree.map(np.atleast_1d, (outcome, sums))
        means: dict[int, dict[str, float]] = {}
        for slot, writer in active:
            rate = float(outcome.learning_rate[slot])
            if not outcome.active[slot]:
                self._diverged(slot, writer, state, int(outcome.step[slot]) + 1, rate)
            elif sums is not None:
                means[slot] = {
                    name: float(sums[name][slot] / sums["examples"][slot])
                    for name in ("loss", "top1", "top5")
                } | {"learning_rate": rate}
        self._log(step, "train", means)
        self._report_progress("train", step)

    def _diverged(
        self, slot: int, writer: RunWriter, state: TrainState, step: int, rate: float
    ) -> None:
        """Ends a run with the step that was not finite, and where in the model it first was not."""
        self._report_progress("diverged", step)
        origin = find_origin(writer.config, writer.pipeline, self.layout.take(state, slot))
        writer.checkpoints.wait()
        last_good = writer.checkpoints.latest_step
        reason = (
            f"not finite at step {step}, where the learning rate is {rate:.4g}; first: {origin}; "
            + (
                "no checkpoint before it"
                if last_good is None
                else f"last checkpoint: step {last_good}"
            )
        )
        details = {"step": step, "learning_rate": rate, **asdict(origin), "checkpoint": last_good}
        writer.end("diverged", reason=reason, result=None, divergence=details, **self.speed())
        self.stopwatch.pause()

    def _evaluate_and_save(self, step: int, state: TrainState) -> None:
        """Validates, then saves: rows up to a step are logged before its checkpoint can exist."""
        metrics: dict[int, dict[str, float]] = {}
        if self._active_writers() and self.schedule.due(self.schedule.evaluate, step):
            self._report_progress("evaluate", step)
            evaluations = self.evaluator(state, "valid")
            active = self._active_writers()
            metrics = {slot: evaluations[slot].metrics() for slot, _ in active}
            self._log(step, "valid", metrics)
        if self.schedule.due(self.schedule.checkpoint, step):
            self._save(step, state, metrics)
        self.stopwatch.pause()

    def _save(self, step: int, state: TrainState, metrics: dict[int, dict[str, float]]) -> None:
        """Saves every active run once all have their last checkpoint: a kill may need that one."""
        self.watchdog.alive(f"checkpoint at step {step}")
        for _, writer in self._active_writers():
            writer.checkpoints.wait()
        for slot, writer in self._active_writers():
            writer.save(step, self.layout.take(state, slot), metrics.get(slot))

    def _compile(self, step: int, device_data: Any, rows: Any) -> jax.stages.Compiled:
        """Compiles the training steps, and where that can be done beside it the evaluation step."""
        self._report_progress("compile", step)
        start = time.perf_counter()
        shapes = shapes_of(device_data), shapes_of(rows)
        train_steps = partial(compile_train_steps, self.step_spec, self.layout, *shapes)
        compiled = compile_together(self.layout, train_steps, self.evaluator.compile)
        self.compile_seconds = time.perf_counter() - start
        hosts.wait_for_all()
        return compiled

    def _log(self, step: int, split: str, metrics: dict[int, dict[str, float]]) -> None:
        """Logs a row for each run, and keeps their mean for the listener."""
        position = {"step": step, "epoch": self.schedule.epoch(step), "split": split}
        for slot, values in metrics.items():
            self.writers[slot].log(position | values)
        if metrics:
            rows = list(metrics.values())
            self._last_row = position | {
                name: sum(row[name] for row in rows) / len(rows) for name in rows[0]
            }

    def _report_progress(self, phase: str, step: int) -> None:
        schedule, speed = self.schedule, self.stopwatch.images_per_second()
        usual = self.stopwatch.usual() if phase == "train" else None
        self.watchdog.alive(f"{phase} at step {step}", usual and usual * self.steps_per_dispatch)
        self.listener(
            Progress(phase, step, schedule.total, schedule.epoch(step), speed, self._last_row)
        )
