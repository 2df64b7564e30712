"""Training of a run or a pack of runs to its end, from its start or its newest checkpoint."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax

from xception_jax.config import Config, flatten
from xception_jax.errors import InputError
from xception_jax.lock import locked
from xception_jax.ops import DEPTHWISE_IMPLEMENTATIONS, NORM_IMPLEMENTATIONS
from xception_jax.ops.dispatch import choose_implementation
from xception_jax.records import ENDED, INITIAL_WEIGHTS
from xception_jax.runtime import hosts
from xception_jax.runtime import run_directory as files
from xception_jax.runtime.determinism import is_deterministic
from xception_jax.runtime.device_time import DeviceMeter
from xception_jax.runtime.watchdog import Watchdog
from xception_jax.training.checkpoint import restore_newest
from xception_jax.training.compile import initial_state, place_states
from xception_jax.training.evaluate import Evaluator
from xception_jax.training.initial_weights import InitialWeights, read_initial_weights
from xception_jax.training.loop import Interrupted, Listener, Loop
from xception_jax.training.run_writer import RunNames, RunSpec, RunWriter
from xception_jax.training.same_data import require_same_data
from xception_jax.training.setup import (
    Schedule,
    activations_of,
    evaluation_batch_size,
    make_schedule,
    make_step_spec,
    open_data,
    require_trainable,
    steps_per_dispatch,
)
from xception_jax.training.sharding import Layout, make_mesh
from xception_jax.training.state import TrainState, hyperparameters
from xception_jax.training.step import StepSpec

_logger = logging.getLogger(__name__)
# If a pack is killed while it saves, some of its runs have the newest checkpoint and some do not:
# the one before must still be there. A run alone keeps what its config says.
_KEEP_IN_PACK = 2


def train(
    config: Config,
    directory: Path,
    *,
    names: RunNames,
    listener: Listener = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = _logger.warning,
) -> dict[str, Any]:
    """Trains the run that `config` describes, or resumes it if `directory` holds a part of it.

    Args:
        config: resolved and checked config of the run.
        directory: directory of the run, created if need be; one that holds another run is refused.
        names: what the run is called.
        listener: called after every dispatched call.
        stop: asked before every dispatched call; once true, the run saves its state and ends.
        warn: takes a line of text for people, possibly from another thread; the default logs it.

    Returns:
        The content of `run.json`, with the status "done" or "diverged". Its `images_per_second` and
        `compile_seconds` are those of the process that ended the run, not of earlier ones.

    Raises:
        InputError: the config does not fit the data, the model, the devices or the directory.
        Interrupted: `stop` said so.
        Exception: whatever made the run fail; `run.json` says it, `failure.txt` holds the trace.
    """
    run = RunSpec(config, directory, names)
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
    """Trains runs in one program; each leaves the same files as a run that `train` trains.

    All resume from the newest step at which every run that has not ended has a checkpoint. Runs
    that have ended keep their slots, and none of their files is written.

    Args:
        runs: runs that have `config.shared_settings` and `config.split_seed` in common.
        slots: slots of the pack, at least as many as runs: with the same number, later packs find
            the program compiled. None: a run alone, in a program without slots.
        listener: see `train`; its steps are those of each run.
        stop: see `train`.
        warn: see `train`.

    Returns:
        The content of `run.json` of every run.

    Raises:
        InputError, Interrupted, Exception: see `train`; where one run fails, all fail.
    """
    _require_same_everywhere(runs)
    records = [hosts.broadcast_from_leader(partial(_read_record, run)) for run in runs]
    if all(record["status"] in ENDED for record in records):
        return records
    layout = Layout(make_mesh(slots=slots), slots)
    activations = activations_of([run.config for run in runs])
    with ExitStack() as stack:
        pipelines = [
            stack.enter_context(closing(hosts.all_or_raise(partial(open_data, run.config))))
            for run in runs
        ]
        require_same_data([run.config for run in runs], records, pipelines)
        config, info = runs[0].config, pipelines[0].info
        hosts.all_or_raise(lambda: require_trainable(config, info, layout.mesh))
        weights = read_initial_weights([run.config for run in runs], info, records)
        step_spec = make_step_spec(config, info, activations)
        for run, record in zip(runs, records, strict=True):
            if record["status"] not in ENDED:
                hosts.broadcast_from_leader(partial(_claim, run, stack))
        writers = [RunWriter(*pair, warn) for pair in zip(runs, pipelines, strict=True)]
        if any(writer.active for writer in writers):  # not ended by another process meanwhile
            session = TrainingSession(writers, layout, step_spec, activations, weights, warn)
            try:
                session.run(listener, hosts.any_process(stop))
            except Interrupted:
                for writer in writers:
                    writer.pause()
                raise
            except Exception as error:
                if hosts.is_loss(error):  # nothing is wrong with the run
                    raise
                for writer in writers:
                    if writer.active:
                        writer.fail(error)
                raise
    return [writer.record for writer in writers]


def _require_same_everywhere(runs: Sequence[RunSpec]) -> None:
    """Raises `InputError` unless all processes were given the same settings.

    The directory and the threads of the data may differ: each process reads from its own machine.
    """
    may_differ = ("data.directory", "data.threads")
    by_process = hosts.gather([flatten(run.config) for run in runs])
    for number, configs in enumerate(by_process):
        for first, other in zip(by_process[0], configs, strict=True):
            for name in first:
                if name not in may_differ and other[name] != first[name]:
                    values = f"{first[name]!r}, process {number} {other[name]!r}"
                    raise InputError(name, None, f"process 0 was given {values}")


def _read_record(run: RunSpec) -> dict[str, Any]:
    files.require_same_run(run.directory, run.config)
    return files.read_run(run.directory)


def _claim(run: RunSpec, stack: ExitStack) -> None:
    """Locks the run's directory for as long as `stack` is open."""
    stack.enter_context(locked(run.directory))
    files.claim(run.directory, run.config)


@dataclass
class TrainingSession:
    """The training of runs by this process; at least one of them has not ended.

    Attributes:
        writers: the runs by slot.
        layout: how the arrays of the runs lie on the devices.
        step_spec: what is fixed in the compiled step of the runs.
        activations: the intermediate activations among which the runs' indices select.
        weights: the weights that the runs start from; None: random values, or weights that are gone
            and that runs with a checkpoint do not need.
        warn: takes a line of text for people.
    """

    writers: list[RunWriter]
    layout: Layout
    step_spec: StepSpec
    activations: tuple[str, ...]
    weights: InitialWeights | None
    warn: Callable[[str], None]

    def __post_init__(self) -> None:
        seconds = self.writers[0].config.train.stuck_after_seconds
        self.watchdog = Watchdog(seconds, self._record_stuck)

    def _record_stuck(self, reason: str, stacks: str) -> None:
        for writer in self.writers:
            if writer.active:
                writer.stuck(reason, stacks)

    def run(self, listener: Listener, stop: Callable[[], bool]) -> None:
        """Restores or initializes the states, trains, evaluates and records the results."""
        first = self.writers[0]
        schedule = make_schedule(first.config, first.pipeline.info.examples["train"])
        keep = 1 if self.layout.slots is None else _KEEP_IN_PACK
        active = [writer for writer in self.writers if writer.active]
        meter = DeviceMeter(self.layout.mesh.devices.size, len(active))
        with ExitStack() as stack:
            stack.enter_context(self.watchdog)
            stack.callback(self._finish)
            for writer in active:
                stack.enter_context(closing(writer.open(keep_at_least=keep)))
            initial = self._initial_states(active)
            resumed, state = self._first_state(active, initial)
            facts = self._facts()
            for number, writer in enumerate(active):
                parameters = None if initial is None else initial[number].parameters
                fields = facts | {INITIAL_WEIGHTS: self._digest(writer, resumed)}
                start = partial(writer.start, resumed, schedule, self.step_spec, parameters)
                # The first process alone reads what the run has recorded so far.
                hosts.all_or_raise(partial(start, meter=meter, **fields))
            loop = self._loop(schedule, listener, stop)
            with hosts.reading_own_images():
                self._complete(loop, loop.run(state, resumed or 0))

    def _loop(self, schedule: Schedule, listener: Listener, stop: Callable[[], bool]) -> Loop:
        first, layout = self.writers[0], self.layout
        by_slot = [hyperparameters(writer.config, self.activations) for writer in self.writers]
        hparams = layout.stack(layout.fill(by_slot, by_slot[0]))
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

    def _facts(self) -> dict[str, Any]:
        """The fields of `run.json` that say how the runs are computed."""
        kinds = [device.device_kind for device in self.layout.mesh.devices.flat]
        names = [writer.names.name for writer in self.writers]
        pack = None if self.layout.slots is None else {"size": self.layout.slots, "runs": names}
        asked = self.writers[0].config.model.block.depthwise_implementation
        depthwise = choose_implementation("depthwise", asked, DEPTHWISE_IMPLEMENTATIONS)
        return {
            "devices": kinds,
            "processes": jax.process_count(),
            "deterministic": is_deterministic(),
            "pack": pack,
            "depthwise_implementation": depthwise,
            "batch_norm_implementation": choose_implementation(
                "batch_norm", "auto", NORM_IMPLEMENTATIONS
            ),
        }

    def _first_state(
        self, active: list[RunWriter], initial: list[TrainState] | None
    ) -> tuple[int | None, TrainState]:
        """The step from which the runs resume (None: they start), and every slot's state there.

        Runs that have ended, and slots without a run, take part with a state that nobody reads.

        Args:
            active: the runs that have not ended.
            initial: their states before the first step; None: see `_initial_states`.
        """
        step_spec, layout = self.step_spec, self.layout
        restored = restore_newest(
            [writer.checkpoints for writer in active],
            step_spec.shapes(),
            layout.mesh,
            [writer.log_until for writer in active],
            self.warn,
        )
        if restored is None and initial is None:
            path = active[0].config.train.initial_weights
            reason = "is gone, and there is no checkpoint to go on from"
            raise InputError("train.initial_weights", path, reason)
        resumed, states = restored or (None, initial or [])
        next_active = iter(states)
        by_slot = [
            next(next_active) if writer.active else initial_state(step_spec, writer.config.seed)
            for writer in self.writers
        ]
        return resumed, place_states(step_spec, layout, layout.fill(by_slot, by_slot[0]))

    def _initial_states(self, active: list[RunWriter]) -> list[TrainState] | None:
        """The states of runs before their first step: drawn at random, or from initial weights.

        What the weights lack, such as a classifier, is drawn. None: the weights are gone.
        """
        states = [initial_state(self.step_spec, writer.config.seed) for writer in active]
        if (weights := self.weights) is None:
            return states if active[0].config.train.initial_weights is None else None
        if weights.left_out:
            self.warn(f"drawn at random, not from {weights.path}: {', '.join(weights.left_out)}")
        if weights.other_arm:
            self.warn(f"{weights.path} is of a model with {weights.other_arm}")
        return [weights.start(state) for state in states]

    def _digest(self, writer: RunWriter, resumed: int | None) -> Any:
        """The digest of the weights that a run started from; one that resumes keeps its record."""
        if resumed is not None:
            return writer.record.get(INITIAL_WEIGHTS)
        return None if self.weights is None else self.weights.sha256

    def _complete(self, loop: Loop, state: TrainState) -> None:
        """Gives the runs that have not diverged their final evaluation, and ends their records."""
        if not any(writer.active for writer in self.writers):
            return
        if loop.stop():
            raise Interrupted("stopped before the final evaluation")
        split, info = self.writers[0].final_split, self.writers[0].pipeline.info
        split = split if info.examples.get(split) else "valid"
        evaluations = loop.evaluator(state, split)[: len(self.writers)]
        for writer, evaluation in zip(self.writers, evaluations, strict=True):
            if writer.active:
                writer.write_predictions(evaluation, split)
                count = len(evaluation.examples["index"])
                result = {"split": split, "examples": count, **evaluation.metrics()}
                writer.checkpoints.wait()
                writer.end("done", reason=None, result=result, **loop.speed())

    def _finish(self) -> None:
        for writer in self.writers:
            writer.finish()
