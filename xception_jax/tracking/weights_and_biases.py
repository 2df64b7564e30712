"""Mirroring a run to W&B; the only module that imports wandb, and only when a run starts.

W&B never stops training, which never waits for it. Opening a W&B run takes from 10 ms to 10 s, so a
separate thread opens it and feeds it from a queue; `WandbRun.log` only puts a row into the queue. A
failure in that thread becomes a single warning: an online run continues offline, an offline run
without W&B. No row is lost, because `metrics.jsonl` holds all of them, and opening a run with those
rows rebuilds it.
"""

import contextlib
import hashlib
import logging
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xception_jax.errors import one_line
from xception_jax.records import SPLITS
from xception_jax.regular_files import inside

if TYPE_CHECKING:
    import wandb

Mode = Literal["offline", "online", "disabled"]
Warn = Callable[[str], None]
PROJECT = "xception-jax"
"""The project at W&B of runs whose config names none."""

_log = logging.getLogger(__name__)

_INIT_SECONDS = 10.0  # time for a server to answer before the run goes offline
_UPLOAD_SECONDS = 20.0  # longest upload at the end of an online run; the rest stays on disk
_FINISH_SECONDS = 35.0  # longest time that `finish` blocks its caller, opening included
_SPARE_BYTES = 64 << 10  # a disk with less is full: wandb writes blocks of 32 KiB
_RETRY_ONLINE_SECONDS = 600.0  # pause before trying a server again that did not answer

_FIXED_SETTINGS: dict[str, Any] = {
    "reinit": "create_new",  # the default returns the first run of the process again
    "x_transaction_log_flush_interval": 1,  # the default loses 15 s of rows on a kill
    "use_dot_wandb": False,
    "silent": True,
    "console": "off",
    # Nothing about the machine, the user, the code or the environment is recorded.
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "host": "",
}


@dataclass
class _Service:
    """State that the runs of a process share: wandb's service process and the server's state.

    Attributes:
        opening: lock for opening a run or stopping the service, which change wandb's globals.
        open_runs: W&B ids of the open runs.
        offline_until: time on the monotonic clock at which to try the server again.
    """

    opening: threading.Lock = field(default_factory=threading.Lock)
    open_runs: set[str] = field(default_factory=set)
    offline_until: float = float("-inf")


_service = _Service()


@dataclass(frozen=True)
class _Finish:
    summary: dict[str, Any]
    failed: bool
    images: dict[str, Path]


class WandbRun:
    """A run in W&B that is fed by a thread, created by `start_run`. Its methods never raise.

    Attributes:
        identifier: id of the run in W&B.
    """

    def __init__(
        self,
        settings: "wandb.Settings",
        config: dict[str, Any],
        rows: Iterable[Mapping[str, Any]],
        warn: Warn,
    ) -> None:
        self.identifier = str(settings.run_id)
        self._settings, self._config, self._warn = settings, config, warn
        self._queue: queue.SimpleQueue[dict[str, Any] | _Finish] = queue.SimpleQueue()
        for row in rows:
            self._queue.put(dict(row))
        # A daemon thread, so that a hanging W&B cannot keep a finished process alive.
        self._thread = threading.Thread(target=self._feed, name="wandb", daemon=True)
        self._thread.start()

    def log(self, row: Mapping[str, Any]) -> None:
        """Queues a row in the format of `metrics.jsonl`."""
        if self._thread.is_alive():
            self._queue.put(dict(row))

    def finish(
        self, summary: Mapping[str, Any], failed: bool, images: Mapping[str, Path] | None = None
    ) -> None:
        """Writes the summary, closes the run, and waits a bounded time for both.

        Args:
            summary: final values, which W&B shows as columns of the run.
            failed: whether W&B shows the run as failed.
            images: image files to log, by name.
        """
        self._queue.put(_Finish(dict(summary), failed, dict(images or {})))
        self._thread.join(_FINISH_SECONDS)
        if self._thread.is_alive():
            self._warn(f"W&B run {self.identifier} does not end; it is left incomplete")

    def _feed(self) -> None:
        try:
            with _opened(self._settings, self._config, self._warn) as run:
                while not isinstance(item := self._queue.get(), _Finish):
                    run.log(_history_row(item))
                _log_images(run, item.images)
                run.summary.update(item.summary)
                run.finish(exit_code=int(item.failed))
            self._check_space()
        except Exception as error:  # training continues whatever happens
            self._warn(f"the run goes on without W&B: {one_line(error)}")

    def _check_space(self) -> None:
        """Warns if the disk is full, in which case wandb drops rows silently."""
        directory = Path(self._settings.root_dir) / "wandb"
        if shutil.disk_usage(directory).free < _SPARE_BYTES:
            self._warn(
                f"the disk under {directory} is full: W&B's files may lack rows, and "
                "`xception-jax sync` rebuilds them from the log"
            )


def start_run(
    *,
    directory: Path,
    run_id: str,
    name: str,
    experiment: str | None = None,
    arm: str | None = None,
    config: Mapping[str, Any],
    mode: Mode = "offline",
    project: str = PROJECT,
    entity: str | None = None,
    tags: Iterable[str] = (),
    resumed_rows: Iterable[Mapping[str, Any]] = (),
    warn: Warn = _log.warning,
) -> WandbRun | None:
    """Starts a run's mirror under `directory/wandb/`, without raising or asking for an API key.

    W&B files of the same run from before an interruption are deleted and `resumed_rows` are logged
    again: W&B cannot join the parts of an offline run reliably, and a server replaces a run by a
    later one with the same id.

    Args:
        directory: the run's directory.
        run_id: the run's id; with `experiment` and `arm` it determines the id in W&B.
        name: display name.
        experiment: W&B group.
        arm: W&B job type.
        config: the resolved config, nested.
        mode: `offline` (files that `wandb sync` uploads later), `online`, or `disabled`.
        project: W&B project.
        entity: W&B team or user; None: the user's default.
        tags: W&B tags, up to 64 characters each.
        resumed_rows: the rows of `metrics.jsonl` that the run resumes from.
        warn: function that receives the text of a warning, possibly on another thread.

    Returns:
        The run, or None if W&B is disabled or cannot be set up.
    """
    if mode == "disabled":
        return None
    _prepare_environment()
    try:
        # wandb is imported in the caller's thread: two threads that import at once can break the
        # import of a module that both need.
        import wandb

        settings = wandb.Settings(
            mode=mode,
            root_dir=str(directory),
            run_id=wandb_id(run_id, experiment, arm),
            run_name=name,
            run_group=experiment,
            run_job_type=arm,
            run_tags=tuple(tags),
            project=project,
            entity=entity,
            stop_fn=_ignore_stop,
            init_timeout=_INIT_SECONDS,
            finish_timeout=_UPLOAD_SECONDS,
            **_FIXED_SETTINGS,
        )
    except Exception as error:  # a broken dependency can raise anything
        warn(f"the run goes on without W&B: {one_line(error)}")
        return None
    return WandbRun(settings, dict(config), resumed_rows, warn)


def _prepare_environment() -> None:
    if "wandb" in sys.modules:
        return
    # wandb would report its own errors to its developers, and if that server does not answer, the
    # end of the process is delayed by 20 s.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # A parent process's wandb service ends with the parent, and this process cannot restart it.
    os.environ.pop("WANDB_SERVICE", None)


def wandb_id(run_id: str, experiment: str | None, arm: str | None) -> str:
    """Returns a run's id in W&B, which is the same after every restart.

    Two experiments that share an arm share that run's own id. Their ids in W&B must differ, or the
    later experiment would move the run out of the first one's group.
    """
    if experiment is None:
        return run_id[:16]
    digest = hashlib.sha256(f"{experiment}/{arm}".encode()).hexdigest()
    return f"{run_id[:16]}-{digest[:8]}"


@contextlib.contextmanager
def _opened(
    settings: "wandb.Settings", config: dict[str, Any], warn: Warn
) -> "Iterator[wandb.Run]":
    """Opens a W&B run, offline if it cannot be online. The caller finishes it."""
    identifier = str(settings.run_id)
    try:
        with _service.opening:
            run = _open(settings, config, warn)
            _service.open_runs.add(identifier)
        yield run
        _service.open_runs.discard(identifier)
    except Exception:
        _service.open_runs.discard(identifier)
        with _service.opening:
            _stop_service()
        raise


def _open(settings: "wandb.Settings", config: dict[str, Any], warn: Warn) -> "wandb.Run":
    if settings.mode == "online" and time.monotonic() >= _service.offline_until:
        try:
            _log_in()
            return _init(settings, config)
        except Exception as error:  # no key, no network, no permission: all are handled alike
            _service.offline_until = time.monotonic() + _RETRY_ONLINE_SECONDS
            warn(f"W&B is offline for now, upload with `wandb sync`: {one_line(error)}")
            _stop_service()
    return _init(settings.model_copy(update={"mode": "offline"}), config)


def _stop_service() -> None:
    """Stops wandb's service process, so that the next run starts a new one, unless it is in use.

    After a failure the service may be dead, or may hold the id of a run that was never opened; then
    the next run would fail as well.
    """
    import wandb

    if not _service.open_runs and wandb.run is None:  # wandb.run is a run of our caller
        with contextlib.suppress(Exception, SystemExit):
            wandb.teardown()


def _log_in() -> None:
    import wandb

    wandb.setup(wandb.Settings(mode="online", silent=True))
    if not wandb.login(prompt=False, verify=False):
        raise PermissionError("no API key; set WANDB_API_KEY or run `wandb login`")


def _init(settings: "wandb.Settings", config: dict[str, Any]) -> "wandb.Run":
    import wandb

    directory = Path(settings.root_dir)
    if not os.access(directory, os.W_OK):
        # wandb would silently write to the system's temporary directory instead.
        raise PermissionError(f"{directory} is not writable")
    _remove_segments(inside(directory, "wandb"), str(settings.run_id))
    wandb.setup(wandb.Settings(silent=True))  # the run's own setting still lets messages through
    run = wandb.init(config=config, settings=settings)
    for metric in ("step", "epoch"):
        run.define_metric(metric, hidden=True)  # axes, not charts of their own
    for split in SPLITS:
        run.define_metric(f"{split}/*", step_metric="step")
    return run


def _remove_segments(directory: Path, identifier: str) -> None:
    """Deletes the files that earlier attempts at a run left in its `wandb/`."""
    for pattern in (f"*run-*-{identifier}", f"*run-*-{identifier}-[0-9]*"):
        for segment in directory.glob(pattern):
            shutil.rmtree(segment, ignore_errors=True)


def _ignore_stop() -> None:
    # Replaces wandb's interrupt of the main thread, which may be training a pack of runs.
    _log.info("a stop requested in W&B is ignored: W&B only mirrors the run")


def _history_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Maps `{"split": "train", "loss": …}` to `{"train/loss": …}`; `step` and `epoch` stay.

    W&B's own step counts rows instead, because its steps must not go backwards, and a row of one
    split may come after a later row of the other.
    """
    axes = {key: row[key] for key in ("step", "epoch")}
    rest = row.keys() - {"step", "epoch", "split"}
    return axes | {f"{row['split']}/{key}": row[key] for key in sorted(rest)}


def _log_images(run: "wandb.Run", images: Mapping[str, Path]) -> None:
    import wandb

    if images:
        run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in images.items()})
