"""One run from start, or from where it was interrupted, to its end."""

import io
import logging
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from xception_jax.config import run_id
from xception_jax.data import Pipeline
from xception_jax.errors import InputError
from xception_jax.tracking import METRICS_FILE, open_tracker, read_metrics
from xception_jax.training import run_directory as files
from xception_jax.training.checkpoint import Checkpoints
from xception_jax.training.evaluation import Evaluation, Evaluator
from xception_jax.training.loop import Diverged, Interrupted, Listener, Loop
from xception_jax.training.mesh import make_mesh, replicate
from xception_jax.training.pretrained import initial_from
from xception_jax.training.setup import (
    Schedule,
    evaluation_batch_size,
    make_program,
    make_schedule,
    open_data,
)
from xception_jax.training.state import TrainState
from xception_jax.training.step import Program

_logger = logging.getLogger(__name__)
# What predictions.npz takes of one kind. The scores of 1,500 examples and 10 classes are 60 kB and
# worth keeping; those of the paper's 14,000 examples and 17,000 classes are 950 MB.
_LARGEST = 64 * 2**20


@dataclass(frozen=True)
class Labels:
    """What a run is called: its name, and its place in an experiment if it has one."""

    name: str
    experiment: str | None = None
    arm: str | None = None


def train(
    config: ConfigDict,
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
    files.require_own(directory, config)
    if files.read_run(directory)["status"] in files.ENDED:
        return files.read_run(directory)
    mesh = make_mesh()
    with closing(open_data(config)) as pipeline:
        program = make_program(config, pipeline.info, mesh)
        with files.locked(directory):
            files.claim(directory, config)
            record = files.read_run(directory)
            if record["status"] in files.ENDED:  # by another process, while this one read the data
                return record
            session = _Session(config, directory, labels, mesh, pipeline, program, warn)
            try:
                return session.run(listener, stop)
            except Interrupted:
                raise
            except Exception as error:
                files.record_failure(directory, error)
                raise


@dataclass
class _Session:
    """A run while this process trains it."""

    config: ConfigDict
    directory: Path
    labels: Labels
    mesh: Mesh
    pipeline: Pipeline
    program: Program
    warn: Callable[[str], None]

    def run(self, listener: Listener, stop: Callable[[], bool]) -> dict[str, Any]:
        """Restores or initializes, trains, evaluates; returns `run.json`."""
        config = self.config
        schedule = make_schedule(config, self.pipeline.info.examples["train"])
        with closing(self._open_checkpoints()) as checkpoints:
            resumed, state = self._first_state(checkpoints, schedule)
            self._record_start(schedule, resumed)
            tracker = open_tracker(
                self.directory,
                run_id=run_id(config),
                name=self.labels.name,
                experiment=self.labels.experiment,
                arm=self.labels.arm,
                config=config.to_dict(),
                resumed_step=resumed,
                warn=self.warn,
                **config.wandb,
            )
            batch_size = evaluation_batch_size(config, self.mesh)
            loop = Loop(
                program=self.program,
                schedule=schedule,
                seed=config.seed,
                mesh=self.mesh,
                pipeline=self.pipeline,
                evaluator=Evaluator(self.program, self.pipeline, self.mesh, batch_size),
                tracker=tracker,
                checkpoints=checkpoints,
                listener=listener,
                stop=stop,
            )
            record: dict[str, Any] = {"status": "running"}
            try:
                record = self._complete(loop, state)
            finally:
                tracker.finish(_summary(record), failed=record["status"] != "done")
        return record

    def _open_checkpoints(self) -> Checkpoints:
        return Checkpoints(
            self.directory / files.CHECKPOINTS,
            keep_last=self.config.checkpoint.keep_last,
            keep_best=self.config.checkpoint.keep_best,
            metric=self.program.task.metric,
        )

    def _first_state(
        self, checkpoints: Checkpoints, schedule: Schedule
    ) -> tuple[int | None, TrainState]:
        """The step of the checkpoint the run goes on from (None: from the start), and its state."""
        shapes = jax.eval_shape(lambda: self.program.init(0))
        restored = checkpoints.restore_newest(shapes, self.mesh, self.warn)
        if restored is None:
            state = self.program.init(self.config.seed)
            if self.config.train.initial_weights is not None:
                state = self._with_weights(state, self.config.train.initial_weights)
            return None, replicate(state, self.mesh)
        _require_rows(self.directory, schedule, restored[0])
        return restored

    def _with_weights(self, state: TrainState, path: str) -> TrainState:
        """The state with weights from elsewhere; what they lack, a classifier, stays as drawn."""
        parameters, statistics, left_out = initial_from(path, self.program.model)
        if left_out:
            self.warn(f"drawn at random, not from {path}: {', '.join(left_out)}")
        parameters = state.parameters | parameters
        averages = {name: jnp.array(parameters[name]) for name in state.averages}
        return replace(
            state,
            parameters=parameters,
            statistics=state.statistics | statistics,
            averages=averages,
        )

    def _complete(self, loop: Loop, state: TrainState) -> dict[str, Any]:
        """Trains to the end and evaluates once more; returns `run.json`."""
        try:
            state = loop.run(state)
        except Diverged as error:
            return self._record_end(loop, "diverged", reason=str(error), result=None)
        if loop.stop():
            raise Interrupted("stopped before the final evaluation")
        split = "test" if self.pipeline.info.examples.get("test") else "valid"
        final = loop.evaluator(state, split)
        self._write_predictions(final, split)
        count = len(final.examples["index"])
        result = {"split": split, "examples": count, **final.metrics()}
        loop.checkpoints.wait()
        return self._record_end(loop, "done", reason=None, result=result)

    def _record_start(self, schedule: Schedule, resumed: int | None) -> None:
        info, config = self.pipeline.info, self.config
        record = files.read_run(self.directory)
        before = record.get("resumed_from", [])
        (self.directory / files.FAILURE).unlink(missing_ok=True)
        files.update_run(
            self.directory,
            id=run_id(config),
            name=self.labels.name,
            experiment=self.labels.experiment,
            arm=self.labels.arm,
            seed=config.seed,
            status="running",
            reason=None,
            devices=[device.device_kind for device in self.mesh.devices.flat],
            started=record.get("started") or files.now(),
            ended=None,
            resumed_from=before if resumed is None else [*before, resumed],
            steps=schedule.total,
            epochs=config.train.epochs,
            examples=dict(info.examples),
            metric=self.program.task.metric,
            parameters=sum(math.prod(leaf.shape) for leaf in self.program.model.parameters),
            result=None,
            **files.provenance(),
        )

    def _record_end(self, loop: Loop, status: str, **outcome: Any) -> dict[str, Any]:
        speed, seconds = loop.stopwatch.images_per_second(), loop.compile_seconds
        return files.update_run(
            self.directory,
            status=status,
            ended=files.now(),
            skipped_images=list(self.pipeline.corrupt_images),
            **({} if speed is None else {"images_per_second": round(speed, 1)}),
            **({} if seconds is None else {"compile_seconds": round(seconds, 2)}),
            **outcome,
        )

    def _write_predictions(self, final: Evaluation, split: str) -> None:
        arrays: dict[str, Any] = {
            name: values for name, values in final.examples.items() if values.nbytes <= _LARGEST
        }
        arrays |= {"correct": final.examples["top1"], "split": np.array(split)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        files.write_whole(self.directory / files.PREDICTIONS, buffer.getvalue())


def _require_rows(directory: Path, schedule: Schedule, step: int) -> None:
    """Raises `InputError` unless the log has every row up to `step`, which no resume rewrites."""
    path = directory / METRICS_FILE
    rows = read_metrics(path) if path.exists() else []
    for split in ("train", "valid"):
        there = sum(row["split"] == split and row["step"] <= step for row in rows)
        if there != (expected := schedule.rows(split, step)):
            reason = (
                f"has {there} {split} rows up to step {step}, from which the newest checkpoint "
                f"would go on, instead of {expected}; delete {files.CHECKPOINTS}/ to start over"
            )
            raise InputError("metrics", str(path), reason)


def _summary(record: dict[str, Any]) -> dict[str, Any]:
    """What W&B shows of a run that has ended."""
    result = record.get("result") or {}
    final = {
        f"{result['split']}/{name}": value
        for name, value in result.items()
        if name not in ("split", "examples")
    }
    kept = {name: record[name] for name in ("status", "reason", "parameters") if record.get(name)}
    return kept | final
