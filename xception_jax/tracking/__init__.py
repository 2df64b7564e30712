"""The record of a run: `metrics.jsonl`, which is the truth, and its mirror in W&B.

The training loop uses `open_tracker` and `Tracker`; what reads curves uses `read_metrics`. On
several hosts only one of them opens a tracker.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xception_jax.records import METRICS_LOG
from xception_jax.tracking.jsonl import MetricsLog, read_lines, read_metrics
from xception_jax.tracking.weights_and_biases import Mode, WandbRun, Warn, start_run

__all__ = [
    "MetricsLog",
    "Tracker",
    "mirror_report",
    "mirror_run",
    "open_tracker",
    "read_lines",
    "read_metrics",
    "summary_of",
]


class Tracker:
    """Where the training loop sends its rows: first the local log, then W&B.

    Only the local log can raise; whatever W&B does becomes a warning.
    """

    def __init__(self, metrics: MetricsLog, mirror: WandbRun | None) -> None:
        self._metrics, self._mirror = metrics, mirror

    def log(self, row: Mapping[str, Any]) -> None:
        """Records a row; see `MetricsLog.write` for its form.

        Raises:
            ValueError: the row has another form, or its step does not come after the last one.
            OSError: the row could not be written.
        """
        written = self._metrics.write(row)
        if self._mirror:
            self._mirror.log(written)

    def sync(self) -> None:
        """Makes every row durable; see `MetricsLog.sync` for when to call it."""
        self._metrics.sync()

    def finish(self, summary: Mapping[str, Any], failed: bool = False) -> None:
        """Ends the record; W&B may hold it up for a bounded time.

        Args:
            summary: final values; they go to W&B only, `run.json` is the caller's.
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
    resumed_step: int | None = None,
    mode: Mode = "offline",
    project: str = "xception-jax",
    entity: str | None = None,
    tags: Iterable[str] = (),
    warn: Warn | None = None,
) -> Tracker:
    """Opens the record of the run in `directory`, which must exist.

    Args:
        directory: the run's directory.
        run_id: the run's own id.
        name: what people see in W&B.
        config: the resolved config, nested.
        experiment: the experiment the run belongs to, if any.
        arm: its arm in that experiment, if any.
        resumed_step: the step of the checkpoint the run goes on from. Rows after it are dropped,
            for the run will write them again. None: a run from the start, which drops all rows.
        mode: `offline`, `online` or `disabled`, of W&B.
        project: W&B's project.
        entity: W&B's team or user.
        tags: W&B's tags.
        warn: takes the text of a warning about W&B, also from another thread; the default logs it.

    Raises:
        InputError: `metrics.jsonl` cannot be read or is damaged.
        OSError: `metrics.jsonl` cannot be written.
    """
    path = directory / METRICS_LOG
    metrics = MetricsLog(path)
    metrics.truncate_after(-1 if resumed_step is None else resumed_step)
    mirror = start_run(
        directory=directory,
        run_id=run_id,
        name=name,
        experiment=experiment,
        arm=arm,
        config=config,
        mode=mode,
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
        directory: the run's.
        record: its `run.json`.
        config: its `config.json`.
        values: final values beside `summary_of` the record.
        warn: takes the text of a warning about W&B.

    Raises:
        InputError: `metrics.jsonl` cannot be read or is damaged.
    """
    path = directory / METRICS_LOG
    mirror = start_run(
        directory=directory,
        run_id=record["id"],
        name=record.get("name") or directory.name,
        experiment=record.get("experiment"),
        arm=record.get("arm"),
        config=config,
        resumed_rows=read_metrics(path) if path.exists() else (),
        warn=warn,
        **{**config.get("wandb", {}), "mode": "offline"},
    )
    if mirror:
        mirror.finish(summary_of(record) | dict(values), failed=record["status"] != "done")


def mirror_report(
    directory: Path,
    experiment: str,
    record: Mapping[str, Any],
    summary: Mapping[str, Any],
    images: Mapping[str, Path],
    *,
    project: str,
    entity: str | None,
    warn: Warn,
) -> None:
    """Replaces the W&B files in a sweep's directory by one offline run with its report.

    It is in the group of the sweep's runs, with the job type `report`.

    Args:
        directory: the sweep's.
        experiment: its name.
        record: what `sweep.json` says of it, for W&B's config.
        summary: final values.
        images: files of figures, by name.
        project: of the sweep's runs.
        entity: of the sweep's runs.
        warn: takes the text of a warning about W&B.
    """
    mirror = start_run(
        directory=directory,
        run_id=hashlib.sha256(experiment.encode()).hexdigest(),
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
    """What W&B shows of a run whose `run.json` is `record`, when it has ended."""
    result = record.get("result") or {}
    final = {
        f"{result['split']}/{name}": value
        for name, value in result.items()
        if name not in ("split", "examples")
    }
    kept = {name: record[name] for name in ("status", "reason", "parameters") if record.get(name)}
    return kept | final
