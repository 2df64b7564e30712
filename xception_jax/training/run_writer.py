"""A run while this process trains it, alone or in a pack: its place in the pack and its files."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xception_jax.config import Config, run_id
from xception_jax.data import Pipeline
from xception_jax.models.functional import Params
from xception_jax.runtime import hosts
from xception_jax.runtime import run_directory as files
from xception_jax.tracking import METRICS_FILE, Tracker, open_tracker, read_lines, summary_of
from xception_jax.training.checkpoint import Checkpoints
from xception_jax.training.evaluate import Evaluation
from xception_jax.training.objective import make_task
from xception_jax.training.pairing import PAIRING, Pairing
from xception_jax.training.setup import Schedule
from xception_jax.training.state import TrainState
from xception_jax.training.step import StepSpec

# What predictions.npz takes of one kind. The scores of 1,500 examples and 10 classes are 60 kB and
# worth keeping; those of the paper's 14,000 examples and 17,000 classes are 950 MB.
_LARGEST = 64 * 2**20


@dataclass(frozen=True)
class Labels:
    """What a run is called: its name, and its place in an experiment if it has one."""

    name: str
    experiment: str | None = None
    arm: str | None = None


@dataclass(frozen=True)
class RunSpec:
    """What is to be trained: a resolved config, a directory for its files, and its name."""

    config: Config
    directory: Path
    labels: Labels


class RunWriter:
    """A run and what it leaves; nothing is written of one that has ended.

    On several hosts each has one, and that of the first alone writes; checkpoints are of all.

    Args:
        run: the directory is locked by the caller, unless the run has ended.
        pipeline: of the run.
        warn: takes a line of text for people.

    Attributes:
        record: `run.json`.
        checkpoints: see `open`.
    """

    checkpoints: Checkpoints

    def __init__(self, run: RunSpec, pipeline: Pipeline, warn: Callable[[str], None]) -> None:
        self.config, self.directory, self.labels = run.config, run.directory, run.labels
        self.pipeline, self._warn = pipeline, warn
        self.record = hosts.broadcast_from_leader(lambda: files.read_run(run.directory))
        self._tracker: Tracker | None = None
        self._pairing: Pairing | None = None

    @property
    def active(self) -> bool:
        """Whether there is anything left to train or to evaluate."""
        return self.record["status"] not in files.ENDED

    @property
    def profile_directory(self) -> Path:
        """The directory of profiler traces."""
        return self.directory / "profile"

    def open(self, *, keep_at_least: int) -> Checkpoints:
        """Opens `checkpoints`; the caller closes them."""
        self.checkpoints = Checkpoints(
            self.directory / files.CHECKPOINTS,
            keep_last=max(keep_at_least, self.config.checkpoint.keep_last),
            keep_best=self.config.checkpoint.keep_best,
            run=run_id(self.config),
            metric=make_task(self.pipeline.info, label_smoothing=0.0).metric,
        )
        return self.checkpoints

    def start(
        self,
        resumed: int | None,
        schedule: Schedule,
        step_spec: StepSpec,
        initial: Params,
        **facts: Any,
    ) -> None:
        """Records the start, or the resumption after step `resumed`, and opens the logs.

        Args:
            resumed: see `open_tracker`.
            schedule: of the run.
            step_spec: of the run.
            initial: the parameters before the first step.
            facts: for `run.json`.

        Raises:
            InputError: the log cannot be read.
        """
        if hosts.is_leader():
            self._start(resumed, schedule, step_spec, initial, **facts)

    def _start(
        self,
        resumed: int | None,
        schedule: Schedule,
        step_spec: StepSpec,
        initial: Params,
        **facts: Any,
    ) -> None:
        self._cut_log(-1 if resumed is None else resumed)
        config, labels = self.config, self.labels
        before = self.record.get("resumed_from")
        before = before if isinstance(before, list) else []
        (self.directory / files.FAILURE).unlink(missing_ok=True)
        self._write(
            id=run_id(config),
            name=labels.name,
            experiment=labels.experiment,
            arm=labels.arm,
            seed=config.seed,
            status="running",
            reason=None,
            started=self.record.get("started") or files.now(),
            ended=None,
            resumed_from=before if resumed is None else [*before, resumed],
            steps=schedule.total,
            epochs=config.train.epochs,
            examples=dict(self.pipeline.info.examples),
            classes=self.pipeline.info.num_classes,
            metric=step_spec.task.metric,
            parameters=sum(math.prod(leaf.shape) for leaf in step_spec.model.parameters),
            result=None,
            **facts,
            **files.provenance(),
        )
        self._pairing = Pairing(
            self.directory / PAIRING,
            config,
            schedule=schedule,
            pipeline=self.pipeline,
            initial=initial,
            step=resumed or 0,
        )
        self._tracker = open_tracker(
            self.directory,
            run_id=run_id(config),
            name=labels.name,
            experiment=labels.experiment,
            arm=labels.arm,
            config=config.to_dict(),
            resumed_step=resumed,
            warn=self._warn,
            mode=config.wandb.mode,
            project=config.wandb.project,
            entity=config.wandb.entity,
            tags=config.wandb.tags,
        )

    def log(self, row: dict[str, Any]) -> None:
        """Adds a row to the curve."""
        if self._tracker is not None:
            self._tracker.log(row)

    def dispatched(self, step: int, indices: np.ndarray) -> None:
        """The devices have been given the batch of `step`: see `Pairing.dispatched`."""
        if self._pairing is not None:
            self._pairing.dispatched(step, indices)

    def log_until(self, step: int) -> bytes:
        """The lines of the curve up to a step, as they are in the file; empty without one."""
        path = self.directory / METRICS_FILE
        return read_lines(path, step) if path.exists() else b""

    def save(self, step: int, state: TrainState, metrics: dict[str, float] | None) -> None:
        """Starts saving a checkpoint, unless there is one; the rows up to it are durable first."""
        if self.checkpoints.latest_step != step:
            if self._tracker is not None:
                self._tracker.sync()
            self.checkpoints.save(step, state, metrics, self.log_until(step))

    def end(self, status: str, **outcome: Any) -> None:
        """Records that the run is done or has diverged."""
        seen = hosts.gather(list(self.pipeline.corrupt_images))
        names = (METRICS_FILE, PAIRING, files.PREDICTIONS)
        self._write(
            status=status,
            ended=files.now(),
            skipped_images=list(dict.fromkeys(name for some in seen for name in some)),
            files=hosts.broadcast_from_leader(lambda: files.digests(self.directory, names)),
            **outcome,
        )

    def write_predictions(self, final: Evaluation, split: str) -> None:
        """Per-example results of the final evaluation."""
        if not hosts.is_leader():
            return
        arrays: dict[str, Any] = {
            name: values for name, values in final.examples.items() if values.nbytes <= _LARGEST
        }
        arrays |= {"correct": final.examples["top1"], "split": np.array(split)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        files.write_whole(self.directory / files.PREDICTIONS, buffer.getvalue())

    def finish(self) -> None:
        """Closes the log, however the run stands."""
        if self._tracker is not None:
            self._tracker.finish(summary_of(self.record), failed=self.record["status"] != "done")
            self._tracker = None

    def fail(self, error: Exception) -> None:
        """Records that the run failed."""
        if hosts.is_leader():
            self.record = files.record_failure(self.directory, error)

    def stuck(self, reason: str, stacks: str) -> None:
        """Records that the process is about to end itself; called from a thread of its own."""
        if hosts.is_leader():
            files.record_failed(self.directory, reason, stacks)

    def _cut_log(self, step: int) -> None:
        """Drops what comes after a step, damaged or not: it is written again."""
        path, kept = self.directory / METRICS_FILE, self.log_until(step)
        if path.exists() and path.read_bytes() != kept:
            files.write_whole(path, kept)

    def _write(self, **changes: Any) -> None:
        if hosts.is_leader():
            self.record = files.update_run(self.directory, **changes)
        else:
            self.record |= changes
