"""A run, or a pack of runs, from start or from where it was interrupted to its end."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from xception_jax.config import Config, flatten
from xception_jax.errors import InputError
from xception_jax.ops import DEPTHWISE_IMPLEMENTATIONS, NORM_IMPLEMENTATIONS
from xception_jax.ops.dispatch import choose_implementation
from xception_jax.pretrained.importing import initial_from
from xception_jax.runtime import hosts
from xception_jax.runtime import run_directory as files
from xception_jax.runtime.lock import locked
from xception_jax.runtime.watchdog import Watchdog
from xception_jax.training.checkpoint import restore_newest
from xception_jax.training.compile import initial_state, place_states
from xception_jax.training.evaluate import Evaluator
from xception_jax.training.loop import Interrupted, Listener, Loop
from xception_jax.training.run_writer import Labels, RunSpec, RunWriter
from xception_jax.training.setup import (
    Schedule,
    evaluation_batch_size,
    make_schedule,
    make_step_spec,
    open_data,
    require_trainable,
    steps_per_dispatch,
)
from xception_jax.training.sharding import Layout, make_mesh
from xception_jax.training.state import Hyperparameters, TrainState, hyperparameters
from xception_jax.training.step import StepSpec

_logger = logging.getLogger(__name__)
# Of a pack that is killed while it saves, some writers have the newest checkpoint and some do not:
# the one before must still be there. A run alone keeps what its config says.
_KEEP_IN_PACK = 2


def train(
    config: Config,
    directory: Path,
    *,
    labels: Labels,
    listener: Listener = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = _logger.warning,
) -> dict[str, Any]:
    """Trains the run that `config` describes in `directory`, or goes on with it.

    Args:
        config: resolved and checked.
        directory: created if need be; one that holds another run is refused.
        labels: what the run is called.
        listener: told of every step.
        stop: asked before every step; once true, the run saves where it stands and ends.
        warn: takes a line of text for people, possibly from another thread; the default logs it.

    Returns:
        What `run.json` holds: status "done" or "diverged". Its `images_per_second` and
        `compile_seconds` are of the process that ended the run, not of those before it.

    Raises:
        InputError: the config does not fit the data, the model, the devices or the directory.
        Interrupted: `stop` said so.
        Exception: whatever made the run fail; `run.json` says it, `failure.txt` holds the trace.
    """
    run = RunSpec(config, directory, labels)
    (record,) = train_together([run], None, listener=listener, stop=stop, warn=warn)
    return record


def train_together(
    runs: Sequence[RunSpec],
    slots: int | None,
    *,
    listener: Listener = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = _logger.warning,
) -> list[dict[str, Any]]:
    """Trains runs in one program, as `train` does one; what each leaves is what it leaves alone.

    All go on from the newest step at which every one that has not ended has a checkpoint. Those
    that have ended keep their slots, and nothing of theirs is written.

    Args:
        runs: that have `config.shared_settings` in common.
        slots: of the pack, at least as many as runs: with the same number, later packs find the
            program compiled. None: a run alone, in a program without slots.
        listener: see `train`; its steps are those of each run.
        stop: see `train`.
        warn: see `train`.

    Returns:
        `run.json` of every run.

    Raises:
        InputError, Interrupted, Exception: see `train`; of whatever fails, all runs fail.
    """
    _require_same_everywhere(runs)
    records = [hosts.broadcast_from_leader(partial(_record, run)) for run in runs]
    if all(record["status"] in files.ENDED for record in records):
        return records
    layout = Layout(make_mesh(slots=slots), slots)
    activations = activations_of(runs)
    with ExitStack() as stack:
        pipelines = [
            stack.enter_context(closing(hosts.all_or_raise(partial(open_data, run.config))))
            for run in runs
        ]
        config, info = runs[0].config, pipelines[0].info
        hosts.all_or_raise(lambda: require_trainable(config, info, layout.mesh))
        step_spec = make_step_spec(config, info, activations)
        for run, record in zip(runs, records, strict=True):
            if record["status"] not in files.ENDED:
                hosts.broadcast_from_leader(partial(_hold, run, stack))
        writers = [RunWriter(*pair, warn) for pair in zip(runs, pipelines, strict=True)]
        if any(writer.active for writer in writers):  # not ended by another process meanwhile
            session = TrainingSession(writers, layout, step_spec, activations, warn)
            try:
                session.run(listener, hosts.any_process(stop))
            except Interrupted:
                raise
            except Exception as error:
                if hosts.is_loss(error):  # nothing is wrong with the run
                    raise
                for writer in writers:
                    if writer.active:
                        writer.fail(error)
                raise
    return [writer.record for writer in writers]


def activations_of(runs: Sequence[RunSpec]) -> tuple[str, ...]:
    """The intermediate activations of a pack's program; in an order that later packs share."""
    return tuple(sorted({run.config.model.block.intermediate_activation for run in runs}))


def _require_same_everywhere(runs: Sequence[RunSpec]) -> None:
    """Raises `InputError` unless all processes were told alike; each may have data of its own."""
    hparams = ("data.directory", "data.threads")
    every = hosts.gather([flatten(run.config) for run in runs])
    for number, others in enumerate(every):
        for here, there in zip(every[0], others, strict=True):
            for name in here:
                if name not in hparams and there[name] != here[name]:
                    reason = f"process 0 was given {here[name]!r}, process {number} {there[name]!r}"
                    raise InputError(name, None, reason)


def _record(run: RunSpec) -> dict[str, Any]:
    files.require_own(run.directory, run.config)
    return files.read_run(run.directory)


def _hold(run: RunSpec, stack: ExitStack) -> None:
    """Takes the run's directory for as long as `stack` is open."""
    stack.enter_context(locked(run.directory))
    files.claim(run.directory, run.config)


@dataclass
class TrainingSession:
    """Runs while this process trains them; at least one has not ended."""

    writers: list[RunWriter]
    layout: Layout
    step_spec: StepSpec
    activations: tuple[str, ...]
    warn: Callable[[str], None]

    def __post_init__(self) -> None:
        seconds = self.writers[0].config.train.stuck_after_seconds
        self.watchdog = Watchdog(seconds, self._stuck)

    def _stuck(self, reason: str, stacks: str) -> None:
        for writer in self.writers:
            if writer.active:
                writer.stuck(reason, stacks)

    def run(self, listener: Listener, stop: Callable[[], bool]) -> None:
        """Restores or initializes, trains, evaluates, records."""
        first = self.writers[0]
        schedule = make_schedule(first.config, first.pipeline.info.examples["train"])
        keep = 1 if self.layout.slots is None else _KEEP_IN_PACK
        active = [writer for writer in self.writers if writer.active]
        with ExitStack() as stack:
            stack.enter_context(self.watchdog)
            stack.callback(self._finish)
            for writer in active:
                stack.enter_context(closing(writer.open(keep_at_least=keep)))
            initial = [self._initial(writer) for writer in active]
            resumed, state = self._first_state(active, initial)
            for writer, start in zip(active, initial, strict=True):
                writer.start(resumed, schedule, self.step_spec, start.parameters, **self._facts())
            loop = self._loop(schedule, listener, stop)
            self._complete(loop, loop.run(state, resumed or 0))

    def _loop(self, schedule: Schedule, listener: Listener, stop: Callable[[], bool]) -> Loop:
        first, layout = self.writers[0], self.layout
        hparams = layout.stack(self._filled([self._hparams(writer) for writer in self.writers]))
        batch_size = evaluation_batch_size(first.config, layout)
        return Loop(
            step_spec=self.step_spec,
            layout=layout,
            schedule=schedule,
            writers=self.writers,
            hparams=hparams,
            evaluator=Evaluator(
                self.step_spec,
                layout,
                hparams,
                first.pipeline,
                batch_size,
                alive=lambda: self.watchdog.alive("evaluation"),
            ),
            listener=listener,
            stop=stop,
            warn=self.warn,
            watchdog=self.watchdog,
            steps_per_dispatch=steps_per_dispatch(
                first.config, layout.mesh, device_data=bool(first.pipeline.device_data)
            ),
        )

    def _hparams(self, writer: RunWriter) -> Hyperparameters:
        return hyperparameters(writer.config, self.activations)

    def _filled(self, values: list[Any]) -> list[Any]:
        """One value for each slot: those without a run have the first run's."""
        return values + values[:1] * ((self.layout.slots or 1) - len(values))

    def _facts(self) -> dict[str, Any]:
        """What `run.json` says of how the runs are computed."""
        kinds = [device.device_kind for device in self.layout.mesh.devices.flat]
        names = [writer.labels.name for writer in self.writers]
        pack = None if self.layout.slots is None else {"size": self.layout.slots, "runs": names}
        asked = self.writers[0].config.model.block.depthwise_implementation
        depthwise = choose_implementation("depthwise", asked, DEPTHWISE_IMPLEMENTATIONS)
        return {
            "devices": kinds,
            "processes": jax.process_count(),
            "pack": pack,
            "depthwise_implementation": depthwise,
            "batch_norm_implementation": choose_implementation(
                "batch_norm", "auto", NORM_IMPLEMENTATIONS
            ),
        }

    def _first_state(
        self, active: list[RunWriter], initial: list[TrainState]
    ) -> tuple[int | None, TrainState]:
        """The step of the checkpoints the runs go on from (None: from the start), and the state."""
        shapes = self.step_spec.shapes()
        restored = restore_newest(
            [writer.checkpoints for writer in active],
            shapes,
            self.layout.mesh,
            [writer.log_until for writer in active],
            self.warn,
        )
        resumed, states = restored or (None, initial)
        at_hand = iter(states)
        every = [
            next(at_hand) if writer.active else initial_state(self.step_spec, writer.config.seed)
            for writer in self.writers
        ]
        return resumed, place_states(self.step_spec, self.layout, self._filled(every))

    def _initial(self, writer: RunWriter) -> TrainState:
        """As drawn, or from elsewhere; what is lacking there, a classifier, stays as drawn."""
        state = initial_state(self.step_spec, writer.config.seed)
        path = writer.config.train.initial_weights
        if path is None:
            return state
        parameters, batch_stats, left_out = initial_from(path, self.step_spec.model)
        if left_out:
            self.warn(f"drawn at random, not from {path}: {', '.join(left_out)}")
        parameters = state.parameters | parameters
        averages = {name: jnp.array(parameters[name]) for name in state.averages}
        return replace(
            state,
            parameters=parameters,
            batch_stats=state.batch_stats | batch_stats,
            averages=averages,
        )

    def _complete(self, loop: Loop, state: TrainState) -> None:
        """The final evaluation of those that have not diverged, and the end of their records."""
        if not any(writer.active for writer in self.writers):
            return
        if loop.stop():
            raise Interrupted("stopped before the final evaluation")
        info = self.writers[0].pipeline.info
        split = "test" if info.examples.get("test") else "valid"
        finals = loop.evaluator(state, split)[: len(self.writers)]
        for writer, final in zip(self.writers, finals, strict=True):
            if writer.active:
                writer.write_predictions(final, split)
                count = len(final.examples["index"])
                result = {"split": split, "examples": count, **final.metrics()}
                writer.checkpoints.wait()
                writer.end("done", reason=None, result=result, **loop.speed())

    def _finish(self) -> None:
        for writer in self.writers:
            writer.finish()
