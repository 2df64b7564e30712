"""The writer of the files of one run: its record, log, checkpoints and predictions."""

import io
import math
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xception_jax.config import Config, run_id
from xception_jax.data import Pipeline
from xception_jax.models.functional import Params
from xception_jax.records import (
    CHECKPOINTS,
    CONFIG,
    ENDED,
    FAILURE,
    METRICS_LOG,
    PAIRING,
    PREDICTIONS,
)
from xception_jax.regular_files import inside, read_regular
from xception_jax.runtime import hosts
from xception_jax.runtime import run_directory as files
from xception_jax.runtime.device_time import RECORD_EVERY, DeviceMeter, measured, reopened
from xception_jax.runtime.numerics import numerical_options
from xception_jax.tracking import Tracker, open_tracker, read_lines, summary_of
from xception_jax.training.checkpoint import Checkpoints
from xception_jax.training.evaluate import Evaluation
from xception_jax.training.objective import make_task
from xception_jax.training.pairing import Pairing
from xception_jax.training.setup import Schedule
from xception_jax.training.state import TrainState
from xception_jax.training.step import StepSpec

# The largest array that predictions.npz takes, bytes. The scores of 1,500 examples and 10 classes
# are 60 kB and worth keeping; those of the paper's 14,000 examples and 17,000 classes are 950 MB.
_LARGEST_ARRAY = 64 * 2**20
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class RunNames:
    """The names of a run: its own, and those of its experiment and arm if it has any.

    Attributes:
        claims_sha256: digest of the claims that its sweep had declared before any run began.
    """

    name: str
    experiment: str | None = None
    arm: str | None = None
    claims_sha256: str | None = None


@dataclass(frozen=True)
class RunSpec:
    """A run that is to be trained.

    Attributes:
        config: its resolved config.
        directory: its directory.
        names: what it is called.
        final_split: the split that it is evaluated on after its last step; "valid" where the data
            set has no such split. A tuning run never sees "test".
    """

    config: Config
    directory: Path
    names: RunNames
    final_split: str = "test"


class RunWriter:
    """Writes the files of one run; none of a run that has ended.

    Every host has one. That of the first host writes `run.json` and the logs; checkpoints are
    written by all together.

    Args:
        run: the run; the caller has locked its directory, unless the run has ended.
        pipeline: the run's data.
        warn: takes a line of text for people.

    Attributes:
        record: the content of `run.json`.
        checkpoints: the run's checkpoints, once `open` was called.
    """

    checkpoints: Checkpoints

    def __init__(self, run: RunSpec, pipeline: Pipeline, warn: Callable[[str], None]) -> None:
        self.config, self.directory, self.names = run.config, run.directory, run.names
        self.final_split = run.final_split
        self.pipeline, self._warn = pipeline, warn
        self.record = hosts.broadcast_from_leader(lambda: files.read_run(run.directory))
        self._tracker: Tracker | None = None
        self._pairing: Pairing | None = None
        self._meter: DeviceMeter | None = None
        self._step, self._time_noted = 0, time.monotonic()

    @property
    def active(self) -> bool:
        """Whether anything of the run is left to train or to evaluate."""
        return self.record["status"] not in ENDED

    @property
    def profile_directory(self) -> Path:
        """The directory of profiler traces; raises `InputError` for one elsewhere, by a link."""
        return inside(self.directory, "profile")

    def open(self, *, keep_at_least: int) -> Checkpoints:
        """Opens `checkpoints`; the caller closes them.

        Args:
            keep_at_least: number of most recent checkpoints kept, whatever the config says.
        """
        self.checkpoints = Checkpoints(
            inside(self.directory, CHECKPOINTS),
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
        initial: Params | None,
        meter: DeviceMeter,
        **facts: Any,
    ) -> None:
        """Records the start, or the resumption after step `resumed`, and opens the logs.

        Args:
            resumed: step of the checkpoint from which the run resumes; None: it starts.
            schedule: schedule of the run.
            step_spec: what is fixed in the run's compiled step.
            initial: the parameters before the first step; None: as the run recorded them.
            meter: measures the compute of the runs that train together.
            facts: further fields of `run.json`.

        Raises:
            InputError: the log cannot be read, or the record of initial values that is needed.
        """
        self._meter, self._step = meter, resumed or 0
        if not hosts.is_leader():
            return
        segments = reopened(self.record.get("segments"), self.log_until(sys.maxsize))
        self._cut_log(-1 if resumed is None else resumed)
        config, names = self.config, self.names
        before = self.record.get("resumed_from")
        before = before if isinstance(before, list) else []
        (self.directory / FAILURE).unlink(missing_ok=True)
        if names.experiment is None:  # a sweep keeps them once for all of its runs
            files.keep_changes(self.directory)
        self._write(
            id=run_id(config),
            name=names.name,
            experiment=names.experiment,
            arm=names.arm,
            seed=config.seed,
            status="running",
            reason=None,
            **self._beginning(),
            ended=None,
            resumed_from=before if resumed is None else [*before, resumed],
            segments=[*segments, {"from": resumed or 0}],
            options=numerical_options(None if resumed is None else self.record.get("options")),
            steps=schedule.total,
            epochs=config.train.epochs,
            examples=dict(self.pipeline.info.examples),
            data=self.pipeline.fingerprint().describe(),
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
        self._open_tracker()

    def _beginning(self) -> dict[str, Any]:
        """When the run began, and the claims that were declared by then, however often resumed."""
        beginning = {"started": files.now(), "claims_sha256": self.names.claims_sha256}
        if self.record.get("started"):
            return {name: self.record.get(name) for name in beginning}
        return beginning

    def _open_tracker(self) -> None:
        config, names = self.config, self.names
        self._tracker = open_tracker(
            self.directory,
            run_id=run_id(config),
            name=names.name,
            experiment=names.experiment,
            arm=names.arm,
            config=config.to_dict(),
            warn=self._warn,
            mode=config.wandb.mode,
            project=config.wandb.project,
            entity=config.wandb.entity,
            tags=config.wandb.tags,
        )

    def log(self, row: dict[str, Any]) -> None:
        """Adds a row to the log."""
        if self._tracker is not None:
            self._tracker.log(row)

    def add_batch(self, step: int, indices: np.ndarray) -> None:
        """Notes the examples of a step's batch; see `Pairing.add_batch`."""
        self._step = step
        if self._pairing is not None:
            self._pairing.add_batch(step, indices)

    def log_until(self, step: int) -> bytes:
        """The lines of the log up to a step, as they are in the file; empty without a file."""
        path = self.directory / METRICS_LOG
        return read_lines(path, step) if path.exists() else b""

    def save(self, step: int, state: TrainState, metrics: dict[str, float] | None) -> None:
        """Starts saving a checkpoint of `step`, once the log up to it is on disk.

        Nothing is done where the newest checkpoint is that of `step`.

        Args:
            step: number of steps that the state has taken.
            state: the run's state, whole on every host.
            metrics: metrics of the validation at this step, if there was one.
        """
        if self.checkpoints.latest_step != step:
            if self._tracker is not None:
                self._tracker.sync()
            self.checkpoints.save(step, state, metrics, self.log_until(step))
            self._note_time(step)

    def _note_time(self, step: int) -> None:
        """Records the compute so far, now and then: a kill then loses little of that record."""
        is_due = time.monotonic() - self._time_noted >= RECORD_EVERY
        if hosts.is_leader() and self._meter is not None and is_due:
            self._time_noted = time.monotonic()
            seconds = self._meter.share()
            self._write(segments=measured(self.record["segments"], step, seconds))

    def _ended_segments(self, end: str) -> dict[str, Any]:
        """The field `segments` of `run.json` once this process is done with the run."""
        segments = self.record.get("segments")
        if self._meter is None or not segments:
            return {}
        return {"segments": measured(segments, self._step, self._meter.leave(), end)}

    def pause(self) -> None:
        """Records the compute of a run that was asked to stop, and goes on another time."""
        if self.active and (segments := self._ended_segments("interrupted")):
            self._write(**segments)

    def end(self, status: str, **outcome: Any) -> None:
        """Records that the run is done or has diverged.

        Args:
            status: "done" or "diverged".
            outcome: further fields of `run.json`.
        """
        of_hosts = hosts.gather(list(self.pipeline.corrupt_images))
        names = (CONFIG, METRICS_LOG, PAIRING, PREDICTIONS)
        self._write(
            status=status,
            ended=files.now(),
            skipped_images=list(dict.fromkeys(name for names in of_hosts for name in names)),
            files=hosts.broadcast_from_leader(lambda: files.digests(self.directory, names)),
            **self._ended_segments(status),
            **outcome,
        )

    def write_predictions(self, final: Evaluation, split: str) -> None:
        """Writes the outputs of the final evaluation for each example of a split."""
        if not hosts.is_leader():
            return
        examples = final.examples
        arrays: dict[str, Any] = {
            name: values for name, values in examples.items() if values.nbytes <= _LARGEST_ARRAY
        }
        arrays |= {"correct": examples["top1"], "split": np.array(split)}
        files.write_whole(self.directory / PREDICTIONS, _npz(arrays))

    def finish(self) -> None:
        """Closes the log, whatever the status of the run."""
        if self._tracker is not None:
            self._tracker.finish(summary_of(self.record), failed=self.record["status"] != "done")
            self._tracker = None

    def fail(self, error: Exception) -> None:
        """Records that the run failed, with the error's trace."""
        if hosts.is_leader():
            segments = self._ended_segments("failed")
            self.record = files.record_failure(self.directory, error, **segments)

    def stuck(self, reason: str, stacks: str) -> None:
        """Records that the process is about to end itself; called from the watchdog's thread."""
        if hosts.is_leader():
            files.record_failed(self.directory, reason, stacks)

    def _cut_log(self, step: int) -> None:
        """Removes what the log holds after a step, damaged or not: it is written again."""
        path, kept = self.directory / METRICS_LOG, self.log_until(step)
        if path.exists() and read_regular(path) != kept:
            files.write_whole(path, kept)

    def _write(self, **changes: Any) -> None:
        if hosts.is_leader():
            self.record = files.update_run(self.directory, **changes)
        else:
            self.record |= changes


def _npz(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as `np.savez_compressed` writes them, but with a date that is always the same.

    A zip holds no date before 1980 or after 2107, which clocks without a battery show.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, values in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(values), allow_pickle=False)
    return buffer.getvalue()
