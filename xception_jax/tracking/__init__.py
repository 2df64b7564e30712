"""Recording runs: `metrics.jsonl`, the authoritative log, and its mirror in W&B.

The training loop uses `open_tracker` and `Tracker`; readers of curves use `read_metrics`. If a run
spans several hosts, only one of them opens a tracker.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xception_jax.errors import InputError
from xception_jax.json_values import as_list, as_mapping, as_text
from xception_jax.records import METRICS_LOG, RUN
from xception_jax.tracking.jsonl import MetricsLog, parse_row, read_lines, read_metrics
from xception_jax.tracking.weights_and_biases import PROJECT, Mode, WandbRun, Warn, start_run

__all__ = [
    "PROJECT",
    "MetricsLog",
    "Tracker",
    "mirror_report",
    "mirror_run",
    "open_tracker",
    "parse_row",
    "read_lines",
    "read_metrics",
    "summary_of",
]


class Tracker:
    """The training loop's logger: writes each row to the local log, then to W&B.

    Only the local log can raise an exception; problems with W&B become warnings.
    """

    def __init__(self, metrics: MetricsLog, mirror: WandbRun | None) -> None:
        self._metrics, self._mirror = metrics, mirror

    def log(self, row: Mapping[str, Any]) -> None:
        """Records a row in the format of `MetricsLog.write`.

        Raises:
            ValueError: the row is malformed, or its step does not come after the last one.
            OSError: the row cannot be written.
        """
        plain_row = self._metrics.write(row)
        if self._mirror:
            self._mirror.log(plain_row)

    def sync(self) -> None:
        """Flushes every row to the disk; `MetricsLog.sync` says when to call it."""
        self._metrics.sync()

    def finish(self, summary: Mapping[str, Any], failed: bool = False) -> None:
        """Ends the record, waiting for W&B for a bounded time.

        Args:
            summary: final values for W&B only; the caller writes `run.json`.
            failed: whether the run failed or diverged.
        """
        try:
            self._metrics.close()
        finally:
            if self._mirror:
                self._mirror.finish(summary, failed)


def open_tracker(
    directory: Path,
    *,
    run_id: str,
    name: str,
    config: Mapping[str, Any],
    experiment: str | None = None,
    arm: str | None = None,
    mode: Mode = "offline",
    project: str = PROJECT,
    entity: str | None = None,
    tags: Iterable[str] = (),
    warn: Warn | None = None,
) -> Tracker:
    """Opens the record of a run, which goes on where its `metrics.jsonl` ends.

    Args:
        directory: the run's directory, which must exist.
        run_id: the run's id.
        name: display name in W&B.
        config: the resolved config, nested.
        experiment: name of the experiment that the run belongs to, if any.
        arm: name of the run's arm in that experiment, if any.
        mode: W&B's mode: `offline`, `online` or `disabled`, which the variable WANDB_MODE can set,
            too.
        project: W&B project.
        entity: W&B team or user.
        tags: W&B tags.
        warn: function that receives the text of a warning about W&B, possibly on another thread;
            by default warnings are logged.

    Raises:
        InputError: `metrics.jsonl` cannot be read or is damaged.
        OSError: `metrics.jsonl` cannot be written.
    """
    path = directory / METRICS_LOG
    metrics = MetricsLog(path)
    mirror = start_run(
        directory=directory,
        run_id=run_id,
        name=name,
        experiment=experiment,
        arm=arm,
        config=config,
        mode="disabled" if os.environ.get("WANDB_MODE") == "disabled" else mode,
        project=project,
        entity=entity,
        tags=tags,
        resumed_rows=read_metrics(path),
        **({"warn": warn} if warn else {}),
    )
    return Tracker(metrics, mirror)


def mirror_run(
    directory: Path,
    record: Mapping[str, Any],
    config: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    warn: Warn,
) -> None:
    """Replaces the W&B files in a run's directory by one offline run with every row of its log.

    Args:
        directory: the run's directory.
        record: content of its `run.json`.
        config: content of its `config.json`.
        values: final values to add to those of `summary_of(record)`.
        warn: function that receives the text of a warning about W&B.

    Raises:
        InputError: `metrics.jsonl` cannot be read or is damaged, or the record holds no id.
    """
    path, settings = directory / METRICS_LOG, as_mapping(config.get("wandb"))
    if not (run_id := as_text(record.get("id"))):
        raise InputError("file", str(directory / RUN), "does not hold the id of the run")
    mirror = start_run(
        directory=directory,
        run_id=run_id,
        name=as_text(record.get("name")) or directory.name,
        experiment=as_text(record.get("experiment")) or None,
        arm=as_text(record.get("arm")) or None,
        config=config,
        project=as_text(settings.get("project")) or PROJECT,
        entity=as_text(settings.get("entity")) or None,
        tags=tuple(map(as_text, as_list(settings.get("tags")))),
        resumed_rows=read_metrics(path) if path.exists() else (),
        warn=warn,
    )
    if mirror:
        is_done = record.get("status") == "done"
        mirror.finish(summary_of(record) | dict(values), failed=not is_done)


def mirror_report(
    directory: Path,
    experiment: str,
    record: Mapping[str, Any],
    summary: Mapping[str, Any],
    images: Mapping[str, Path],
    *,
    sweep_id: str,
    project: str,
    entity: str | None,
    warn: Warn,
) -> None:
    """Replaces the W&B files in a sweep's directory by one offline run with its report.

    The run is in the same W&B group as the sweep's runs, with the job type `report`.

    Args:
        directory: the sweep's directory.
        experiment: name of the experiment.
        record: the experiment's entries of `sweep.json`, used as W&B's config.
        summary: final values.
        images: image files of the figures, by name.
        sweep_id: what tells the sweep from others, such as those that repeat its experiment.
        project: W&B project of the sweep's runs.
        entity: W&B team or user of the sweep's runs.
        warn: function that receives the text of a warning about W&B.
    """
    mirror = start_run(
        directory=directory,
        run_id=sweep_id,
        name=f"{experiment}: report",
        experiment=experiment,
        arm="report",
        config=record,
        project=project,
        entity=entity,
        warn=warn,
    )
    if mirror:
        mirror.finish(summary, failed=False, images=images)


def summary_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the W&B summary of an ended run from `record`, the content of its `run.json`."""
    result = as_mapping(record.get("result"))
    final = {
        f"{as_text(result.get('split'))}/{name}": value
        for name, value in result.items()
        if name not in ("split", "examples")
    }
    kept = {name: record[name] for name in ("status", "reason", "parameters") if record.get(name)}
    return kept | final
