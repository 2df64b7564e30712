"""The mirror of a run in W&B. The one module that imports wandb, and only when a run starts.

W&B never stops or delays training. A thread of its own opens the W&B run and feeds it from a
queue, because opening takes from 10 ms to 10 s; `WandbRun.log` only puts a row into the queue.
What goes wrong there becomes one warning: an online run goes on offline, an offline run without
W&B. Nothing is lost by that, since `metrics.jsonl` holds every row, and opening a run with those
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

if TYPE_CHECKING:
    import wandb

Mode = Literal["offline", "online", "disabled"]
Warn = Callable[[str], None]

_log = logging.getLogger(__name__)

_INIT_SECONDS = 10.0  # that a server has to answer in before the run goes offline
_UPLOAD_SECONDS = 20.0  # that the end of an online run may take; the rest stays on disk
_FINISH_SECONDS = 35.0  # the longest that `finish` holds its caller up, opening included
_SPARE_BYTES = 64 << 10  # less is full: wandb writes in blocks of 32 KiB
_RETRY_ONLINE_SECONDS = 600.0  # a server that did not answer is left alone for as long

_FIXED_SETTINGS: dict[str, Any] = {
    "reinit": "create_new",  # the default returns the first run of the process again
    "x_transaction_log_flush_interval": 1,  # the default loses 15 s of rows on a kill
    "use_dot_wandb": False,
    "silent": True,
    "console": "off",
    # Nothing of the machine, the user, the code or the environment.
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
    """What the runs of a process share: wandb's service process and what is known of the server.

    Attributes:
        opening: held while a run is opened or the service stopped; both change wandb's globals.
        open_runs: the W&B ids of the runs that are open.
        offline_until: when to try the server again, on the monotonic clock.
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
    """One run in W&B, fed by a thread. Made by `start_run`; no method of it raises.

    Attributes:
        identifier: the run's id in W&B.
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
        # A daemon, so that a W&B that hangs cannot keep a finished process alive.
        self._thread = threading.Thread(target=self._feed, name="wandb", daemon=True)
        self._thread.start()

    def log(self, row: Mapping[str, Any]) -> None:
        """Queues a row in the form of `metrics.jsonl`."""
        if self._thread.is_alive():
            self._queue.put(dict(row))

    def finish(
        self, summary: Mapping[str, Any], failed: bool, images: Mapping[str, Path] | None = None
    ) -> None:
        """Writes the summary, closes the run, and waits a bounded time for both.

        Args:
            summary: final values, shown as the run's columns in W&B.
            failed: whether W&B is to show the run as failed.
            images: files to show beside them, by name.
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
        except Exception as error:  # whatever it is, the training goes on
            self._warn(f"the run goes on without W&B: {one_line(error)}")

    def _check_space(self) -> None:
        """Warns where the disk is full: wandb loses rows there without a word."""
        place = Path(self._settings.root_dir) / "wandb"
        if shutil.disk_usage(place).free < _SPARE_BYTES:
            self._warn(
                f"the disk under {place} is full: W&B's files may lack rows, and "
                "`xception-jax sync` makes them anew from the log"
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
    project: str = "xception-jax",
    entity: str | None = None,
    tags: Iterable[str] = (),
    resumed_rows: Iterable[Mapping[str, Any]] = (),
    warn: Warn = _log.warning,
) -> WandbRun | None:
    """Starts a run's mirror under `directory/wandb/`. Never raises, never asks for a key.

    W&B files of the same run from before an interruption are deleted and `resumed_rows` logged
    anew: W&B cannot join the parts of an offline run reliably, and a server replaces a run by a
    later one of the same id.

    Args:
        directory: the run's directory.
        run_id: the run's own id; with experiment and arm it determines the id in W&B.
        name: what people see.
        experiment: W&B's group.
        arm: W&B's job type.
        config: the resolved config, nested.
        mode: `offline` (files that `wandb sync` uploads later), `online`, or `disabled`.
        project: W&B's project.
        entity: W&B's team or user; None: the user's default.
        tags: W&B's tags, up to 64 characters each.
        resumed_rows: the rows of `metrics.jsonl` that the run goes on from.
        warn: takes the text of a warning; also called from another thread.

    Returns:
        The run, or None where there is nothing to feed: W&B is disabled or cannot be imported.
    """
    if mode == "disabled":
        return None
    _prepare_environment()
    try:
        # In the caller's thread: importing in two threads at once can break the import of a
        # module that both need.
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
    except Exception as error:  # a broken dependency raises anything
        warn(f"the run goes on without W&B: {one_line(error)}")
        return None
    return WandbRun(settings, dict(config), resumed_rows, warn)


def _prepare_environment() -> None:
    if "wandb" in sys.modules:
        return
    # Reports of wandb's own errors would go to its makers, and with a server that does not answer
    # they hold up the end of the process by 20 s.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # A parent process's wandb service: it ends with the parent, and is not ours to start anew.
    os.environ.pop("WANDB_SERVICE", None)


def wandb_id(run_id: str, experiment: str | None, arm: str | None) -> str:
    """The id in W&B: the same after every restart.

    Two experiments that share an arm share that run's own id. In W&B they must not, or the later
    one would take the run out of the first one's group.
    """
    if experiment is None:
        return run_id[:16]
    place = hashlib.sha256(f"{experiment}/{arm}".encode()).hexdigest()
    return f"{run_id[:16]}-{place[:8]}"


@contextlib.contextmanager
def _opened(
    settings: "wandb.Settings", config: dict[str, Any], warn: Warn
) -> "Iterator[wandb.Run]":
    """The open W&B run, offline where it cannot be online. The caller finishes it."""
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
        except Exception as error:  # no key, no network, no permission: all end the same way
            _service.offline_until = time.monotonic() + _RETRY_ONLINE_SECONDS
            warn(f"W&B is offline for now, upload with `wandb sync`: {one_line(error)}")
            _stop_service()
    return _init(settings.model_copy(update={"mode": "offline"}), config)


def _stop_service() -> None:
    """Makes wandb start its service process anew, unless a run still uses it.

    After a failure the service may be dead, or hold on to the id of a run that was never opened:
    the next run would fail as well.
    """
    import wandb

    if not _service.open_runs and wandb.run is None:  # the latter: a run of our caller's own
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
    _remove_segments(directory / "wandb", str(settings.run_id))
    wandb.setup(wandb.Settings(silent=True))  # of a run alone, it leaves messages on the terminal
    run = wandb.init(config=config, settings=settings)
    for metric in ("step", "epoch"):
        run.define_metric(metric, hidden=True)  # axes, not charts of their own
    for split in SPLITS:
        run.define_metric(f"{split}/*", step_metric="step")
    return run


def _remove_segments(directory: Path, identifier: str) -> None:
    """Deletes what earlier attempts at a run left in its `wandb/`."""
    for pattern in (f"*run-*-{identifier}", f"*run-*-{identifier}-[0-9]*"):
        for segment in directory.glob(pattern):
            shutil.rmtree(segment, ignore_errors=True)


def _ignore_stop() -> None:
    # Instead of wandb's interrupt of the main thread, which may be training a pack of runs.
    _log.info("a stop asked for in W&B is ignored: W&B mirrors the run, it does not steer it")


def _history_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """`{"split": "train", "loss": …}` -> `{"train/loss": …}`, with `step` and `epoch` as they are.

    W&B's own step counts rows instead: its steps must not go backwards, and a row of one split may
    come after a later row of the other.
    """
    axes = {key: row[key] for key in ("step", "epoch")}
    rest = row.keys() - {"step", "epoch", "split"}
    return axes | {f"{row['split']}/{key}": row[key] for key in sorted(rest)}


def _log_images(run: "wandb.Run", images: Mapping[str, Path]) -> None:
    import wandb

    if images:
        run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in images.items()})
