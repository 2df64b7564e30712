"""The steps of a run, or of a pack of runs, from wherever the state stands to the last one."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from xception_jax.data import Batch
from xception_jax.runtime import hosts
from xception_jax.runtime.watchdog import Watchdog
from xception_jax.training.compile import compile_train_steps, shapes_of
from xception_jax.training.divergence import find_origin
from xception_jax.training.evaluate import Evaluator
from xception_jax.training.hyperparameters import Hyperparameters
from xception_jax.training.run_writer import RunWriter
from xception_jax.training.setup import Schedule
from xception_jax.training.sharding import Layout, replicate
from xception_jax.training.state import Sums, TrainState, zero_sums
from xception_jax.training.step import Outcome, StepSpec


@dataclass(frozen=True)
class Progress:
    """Where a run stands, or the runs of a pack.

    Attributes:
        phase: "compile", "train", "evaluate" or "done".
        step: optimizer steps known to be done.
        total_steps: of the run.
        epoch: passes over the training split.
        images_per_second: see `Stopwatch`; of all runs together.
        row: the last row of the log; of a pack the mean.
    """

    phase: str
    step: int
    total_steps: int
    epoch: float
    images_per_second: float | None = None
    row: dict[str, Any] | None = None


Listener = Callable[[Progress], None]


# Of the median of the last hundred steps, once there are ten.
_SLOW, _RECENT, _ENOUGH = 20, 100, 10


class Interrupted(Exception):
    """The run was asked to stop, and has saved where it stands."""


class Stopwatch:
    """Images and seconds of this process's training steps, from one finished step to the next.

    Compilation, evaluation and checkpoints are left out, and so are the first steps after each,
    which only fill the queue of the devices.

    Attributes:
        slow: how many times a step took 20 times the median of those before it, and a second:
            less is what any machine's other work does to small steps.
    """

    def __init__(self) -> None:
        self._seconds, self._images, self._last = 0.0, 0, None  # type: tuple[float, int, Any]
        self._recent = deque[float](maxlen=_RECENT)
        self.slow = 0

    def pause(self) -> None:
        """The time until the next finished step does not count, nor do its images."""
        self._last = None

    def finished(self, images: int, steps: int) -> float | None:
        """So many steps of so many images together have just ended.

        Returns:
            the seconds that each took, if that was slow.
        """
        now, before = time.perf_counter(), self._last
        self._last = now
        if before is None:
            return None
        self._seconds += now - before
        self._images += images
        usual, took = self.usual(), (now - before) / steps
        self._recent.append(took)
        if usual is None or took < max(_SLOW * usual, 1.0):
            return None
        self.slow += 1
        return took

    def usual(self) -> float | None:
        """The median seconds of a step; None before there are enough to tell."""
        return median(self._recent) if len(self._recent) >= _ENOUGH else None

    def images_per_second(self) -> float | None:
        """The mean so far; None before a second dispatch has ended."""
        return self._images / self._seconds if self._seconds else None


class _Dispatched(NamedTuple):
    """Steps that the devices have been given; `sums` where the last completes a row of the log."""

    step: int
    taken: int
    outcome: Outcome
    sums: Sums | None


@dataclass
class Loop:
    """Trains runs; their curves go to their logs, their states to their checkpoints.

    What a step says of itself is read after the next one is dispatched: the devices never wait
    for the host to read a number, and the host is never further ahead than one dispatch.

    Attributes:
        step_spec: of the runs.
        layout: of their arrays.
        schedule: of every run.
        members: the runs, by slot; slots beyond them are padding.
        hparams: the runs' hyperparameters, laid out.
        evaluator: of their states.
        listener: told of every dispatch.
        stop: asked before every dispatch.
        warn: takes a line of text for people.
        watchdog: told of every dispatch that has ended, and of what comes between them.
        steps_per_dispatch: at most; rows, validations and checkpoints end one.
    """

    step_spec: StepSpec
    layout: Layout
    schedule: Schedule
    members: list[RunWriter]
    hparams: Hyperparameters
    evaluator: Evaluator
    listener: Listener
    stop: Callable[[], bool]
    warn: Callable[[str], None]
    watchdog: Watchdog
    steps_per_dispatch: int
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    compile_seconds: float | None = None
    _going: int = 1
    _dispatched: _Dispatched | None = None
    _last_row: dict[str, Any] | None = None

    def run(self, state: TrainState, step: int) -> TrainState:
        """Every step after `step` to the last, while a run is left; the state given is used up.

        Raises:
            Interrupted: `stop` said so; the states are saved.
        """
        schedule, mesh = self.schedule, self.layout.mesh
        device_data = replicate(self.members[0].pipeline.device_data.get("train", {}), mesh)
        batches = self._batches(step)
        active = self.layout.stack(self._slots([np.bool_(m.active) for m in self.members], False))
        step_function, self._going = None, len(self._active())
        while step < schedule.total and self._active():
            if self.stop():
                self._settle(state)
                self._save(step, state, {})
                raise Interrupted(f"stopped after step {step}")
            count = self._until_due(step)
            taken = [next(batches) for _ in range(count)]
            rows = self._rows(taken)
            step_function = step_function or self._compile(step, device_data, rows)
            steps = replicate(jnp.int32(count), mesh)
            state, outcome = step_function(state, active, device_data, rows, steps, self.hparams)
            self._note(step, taken)
            active, step = outcome["active"], step + count
            self._settle(state)
            row_is_due = schedule.due(schedule.log, step)
            self._dispatched = _Dispatched(step, count, outcome, state.sums if row_is_due else None)
            if row_is_due:
                state = replace(state, sums=self.layout.stack(self._slots([], zero_sums())))
            if schedule.due(schedule.evaluate, step) or schedule.due(schedule.checkpoint, step):
                self._settle(state)
                self._evaluate_and_save(step, state)
        return state

    def speed(self) -> dict[str, Any]:
        """What `run.json` says of it: a run's share of the images per second, and compiling."""
        speed, seconds = self.stopwatch.images_per_second(), self.compile_seconds
        share = {} if speed is None else {"images_per_second": round(speed / self._going, 1)}
        slow = {"slow_steps": self.stopwatch.slow} if self.stopwatch.slow else {}
        return share | slow | ({} if seconds is None else {"compile_seconds": round(seconds, 2)})

    def _active(self) -> list[tuple[int, RunWriter]]:
        return [(slot, member) for slot, member in enumerate(self.members) if member.active]

    def _slots(self, values: list[Any], padding: Any) -> list[Any]:
        return values + [padding] * ((self.layout.slots or 1) - len(values))

    def _until_due(self, step: int) -> int:
        """Steps of the next dispatch: as many as may be, up to what is due next."""
        schedule = self.schedule
        for count in range(1, self.steps_per_dispatch):
            every = (schedule.log, schedule.evaluate, schedule.checkpoint)
            if any(schedule.due(period, step + count) for period in every):
                return count
        return min(self.steps_per_dispatch, schedule.total - step)

    def _batches(self, step: int) -> Iterator[Batch]:
        """The global batches after `step`: [slots, batch, …], or [batch, …] of a run alone."""
        runs = [member.pipeline.train_batches(step) for member in self.members]
        for batches in zip(*runs, strict=True):
            if self.layout.slots is None:
                yield batches[0]
            else:
                every = self._slots(list(batches), batches[0])
                yield {name: np.stack([batch[name] for batch in every]) for name in batches[0]}

    def _rows(self, taken: list[Batch]) -> dict[str, jax.Array]:
        """The batches, and the last one again up to the number that the program takes."""
        every = taken + taken[-1:] * (self.steps_per_dispatch - len(taken))
        parts = self.step_spec.consecutive_parts
        rows = {name: np.stack([batch[name] for batch in every]) for name in taken[0]}
        return self.layout.put(self.layout.interleave_shards(rows, parts), self.layout.steps_spec)

    def _note(self, step: int, taken: list[Batch]) -> None:
        """Tells each run's `pairing.json` what the devices have been given after `step`."""
        alone = jax.process_count() == 1
        for number, batch in enumerate(taken, start=step):
            sent = batch.get("index") if alone else None  # of several processes, a part
            for slot, member in self._active():
                if sent is None:
                    indices = member.pipeline.train_indices(number)
                else:
                    indices = sent if self.layout.slots is None else sent[slot]
                member.dispatched(number + 1, indices)

    def _settle(self, state: TrainState) -> None:
        """Waits for the steps dispatched last, and takes note of what they say.

        Args:
            state: the newest; of a run that has diverged, that before the step.
        """
        if self._dispatched is None:
            return
        step, count, outcome, sums = jax.device_get(self._dispatched)
        self._dispatched = None
        active = self._active()
        images = count * self.schedule.examples_per_step * len(active)
        if (slow := self.stopwatch.finished(images, count)) and self.stopwatch.slow == 1:
            usual = self.stopwatch.usual()
            self.warn(f"step {step} took {slow:.1f} s, and {usual:.2g} s is usual")
        outcome, sums = jax.tree.map(np.atleast_1d, (outcome, sums))
        means: dict[int, dict[str, float]] = {}
        for slot, member in active:
            mine = {name: values[slot] for name, values in outcome.items()}
            rate = float(mine["learning_rate"])
            if not mine["active"]:
                self._diverged(slot, member, state, int(mine["step"]) + 1, rate)
            elif sums is not None:
                means[slot] = {
                    name: float(sums[name][slot] / sums["examples"][slot])
                    for name in ("loss", "top1", "top5")
                } | {"learning_rate": rate}
        self._log(step, "train", means)
        self._tell("train", step)

    def _diverged(
        self, slot: int, member: RunWriter, state: TrainState, step: int, rate: float
    ) -> None:
        """Records which step it was, and what the next person wants to know of it."""
        self._tell("diverged", step)
        origin = find_origin(member.config, member.pipeline, self.layout.take(state, slot))
        member.checkpoints.wait()
        good = member.checkpoints.latest_step
        reason = (
            f"not finite at step {step}, where the learning rate is {rate:.4g}; first: {origin}; "
            + ("no checkpoint before it" if good is None else f"last checkpoint: step {good}")
        )
        found = {"step": step, "learning_rate": rate, **asdict(origin), "checkpoint": good}
        member.end("diverged", reason=reason, result=None, divergence=found, **self.speed())
        self.stopwatch.pause()

    def _evaluate_and_save(self, step: int, state: TrainState) -> None:
        """Rows up to this step are in the log before a checkpoint of it can exist."""
        metrics: dict[int, dict[str, float]] = {}
        if self._active() and self.schedule.due(self.schedule.evaluate, step):
            self._tell("evaluate", step)
            evaluations = self.evaluator(state, "valid")
            metrics = {slot: evaluations[slot].metrics() for slot, _ in self._active()}
            self._log(step, "valid", metrics)
        if self.schedule.due(self.schedule.checkpoint, step):
            self._save(step, state, metrics)
        self.stopwatch.pause()

    def _save(self, step: int, state: TrainState, metrics: dict[int, dict[str, float]]) -> None:
        """Not before all members have their last checkpoint: one may have to go on from there."""
        self.watchdog.alive(f"checkpoint at step {step}")
        for _, member in self._active():
            member.checkpoints.wait()
        for slot, member in self._active():
            member.save(step, self.layout.take(state, slot), metrics.get(slot))

    def _compile(self, step: int, device_data: Any, rows: Any) -> jax.stages.Compiled:
        self._tell("compile", step)
        start = time.perf_counter()
        compiled = compile_train_steps(
            self.step_spec, self.layout, shapes_of(device_data), shapes_of(rows)
        )
        self.compile_seconds = time.perf_counter() - start
        hosts.wait_for_all()
        return compiled

    def _log(self, step: int, split: str, metrics: dict[int, dict[str, float]]) -> None:
        """A row for each run; what people are shown is their mean."""
        place = {"step": step, "epoch": self.schedule.epoch(step), "split": split}
        for slot, values in metrics.items():
            self.members[slot].log(place | values)
        if metrics:
            names = next(iter(metrics.values()))
            rows = list(metrics.values())
            self._last_row = place | {
                name: sum(row[name] for row in rows) / len(rows) for name in names
            }

    def _tell(self, phase: str, step: int) -> None:
        schedule, speed = self.schedule, self.stopwatch.images_per_second()
        usual = self.stopwatch.usual() if phase == "train" else None
        self.watchdog.alive(f"{phase} at step {step}", usual and usual * self.steps_per_dispatch)
        self.listener(
            Progress(phase, step, schedule.total, schedule.epoch(step), speed, self._last_row)
        )
