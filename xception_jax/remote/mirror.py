"""Working copies of directories in a store, and the mirror that uploads what changes in them."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from xception_jax.cache import REMOTE, lasting_cache_directory
from xception_jax.errors import InputError, one_line, refused
from xception_jax.records import CHECKPOINTS, LOCK, RUN
from xception_jax.remote.lease import NAME as LEASE
from xception_jax.remote.lease import Lease, living_holder
from xception_jax.remote.store import Store, kept_for, url_of
from xception_jax.remote.uploads import MARK, FileStates, checkpoint_of, file_states, frozen, plan

_ATTEMPTS = 3
_UNKNOWN = (-1, 0)


@contextmanager
def mirrored(location: Path, warn: Callable[[str], None]) -> Iterator[Path]:
    """The directory to work in for `location`: itself, or a copy that is mirrored to a store.

    What the store has is downloaded first, unless the last session was one of this machine: its
    copy is the newer one, also after a kill. XCEPTION_JAX_UPLOAD_SECONDS is the interval between
    uploads, in seconds (30).

    Args:
        location: a directory, or a URL.
        warn: called with one line of text, also from another thread.

    Raises:
        InputError: the store cannot be used, or another process works in the directory.
        OSError: at the end, not everything could be uploaded.
    """
    if (url := url_of(location)) is None:
        yield location
        return
    seconds = _upload_interval()
    cache = lasting_cache_directory(f"the working copy of {url}")
    local = kept_for(url, cache / REMOTE)
    with refused("--workdir", url, "cannot be used"):
        store = Store(url)
        lease = Lease(store, local.parent.with_suffix(".session"), seconds)
        try:
            if not (lease.continues and local.is_dir()):
                _replace_by_download(store, local)
            lease.remember()
            mirror = _Mirror(store, local, lease, seconds, warn)
        except BaseException:
            lease.release()
            raise
    mirror.start()
    try:
        yield local
    except BaseException:
        mirror.end(quietly=True)
        raise
    mirror.end()


@contextmanager
def copied(location: Path, *, changes: bool = False, checkpoints: bool = False) -> Iterator[Path]:
    """The directory to read for `location`: itself, or a temporary copy of what a store has.

    Args:
        location: a directory, or a URL.
        changes: whether to upload at the end what was changed in the copy.
        checkpoints: whether to copy checkpoints as well.

    Raises:
        InputError: the store cannot be used, or has nothing at the URL.
    """
    if (url := url_of(location)) is None:
        yield location
        return
    with tempfile.TemporaryDirectory(prefix="xception-jax-") as temporary:
        local = Path(temporary) / (PurePosixPath(url).name or "store")
        local.mkdir()
        with refused("directory", url, "cannot be read"):
            store = Store(url)
            _download(store, local, checkpoints=checkpoints)
            if not any(local.iterdir()):
                raise InputError("directory", url, "there is nothing")
            _mark_runs_in_use(store, local)
        before = file_states(local)
        yield local
        if changes:
            after = file_states(local)
            with refused("directory", url, "cannot be written"):
                store.put([name for name in after if after[name] != before.get(name)], local)
                store.delete(name for name in before if name not in after)


def _mark_runs_in_use(store: Store, local: Path) -> None:
    """Marks every copied run as in use, for `status`, while a process works in the directory."""
    holder = living_holder(store)
    for record in local.rglob(RUN) if holder else ():
        (record.parent / LOCK).write_text(f"{holder}, renewed 0 times\n")


def _upload_interval() -> float:
    text = os.environ.get("XCEPTION_JAX_UPLOAD_SECONDS", "30")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        reason = "must be a number from 0.1 to 3600"
        raise InputError("XCEPTION_JAX_UPLOAD_SECONDS", text, reason, 30)
    return seconds


def _replace_by_download(store: Store, local: Path) -> None:
    """Makes `local` what the store has; a kill leaves it as it was."""
    incoming = local.with_name(f"{local.name}.partial")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    _download(store, incoming, checkpoints=True)
    shutil.rmtree(local, ignore_errors=True)
    incoming.rename(local)


def _download(store: Store, local: Path, *, checkpoints: bool) -> None:
    """Copies what the store has, except its lease and checkpoints that were not committed."""
    names = store.sizes().keys()

    def is_wanted(name: str) -> bool:
        if name == LEASE or (not checkpoints and f"/{CHECKPOINTS}/" in f"/{name}"):
            return False
        checkpoint = checkpoint_of(name)
        return checkpoint is None or f"{checkpoint}/{MARK}" in names

    store.get(filter(is_wanted, names), local)


class _Mirror:
    """Uploads what changes in `local`, step by step as `plan` says.

    Args:
        store: the directory to upload to.
        local: the directory to upload from.
        lease: held on `store`; released at the end.
        seconds: the interval between uploads.
        warn: called with one line of text, also from another thread.
    """

    def __init__(
        self, store: Store, local: Path, lease: Lease, seconds: float, warn: Callable[[str], None]
    ) -> None:
        self._store, self._local, self._lease, self._warn = store, local, lease, warn
        self._seconds = seconds
        states = file_states(local)
        # The states of files as they were uploaded. A checkpoint never changes, and one that this
        # machine has deleted is to be deleted in the store. Of other files the store may have an
        # older version; those that only the store has were put there by another command.
        self._uploaded: FileStates = {}
        for name, size in store.sizes().items():
            state = states.get(name, _UNKNOWN)
            if checkpoint_of(name):
                self._uploaded[name] = state if state[0] == size else _UNKNOWN
            elif name in states:
                self._uploaded[name] = _UNKNOWN
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    def start(self) -> None:
        """Starts the thread that uploads at the interval."""
        self._thread.start()

    def end(self, *, quietly: bool = False) -> None:
        """Uploads what is left and releases the lease.

        Args:
            quietly: whether to warn instead of raising.

        Raises:
            OSError: something could not be uploaded.
        """
        self._stopping.set()
        self._thread.join()
        reason = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(2.0 ** (attempt - 1))
            try:
                self._upload()
                self._lease.release()
                return
            except Exception as failure:
                reason = one_line(failure)
        with suppress(Exception):
            self._lease.release()
        text = (
            f"not everything is in {self._store.url} ({reason}); it is in {self._local}, and the "
            "same command on this machine sends it"
        )
        if not quietly:
            raise OSError(text)
        self._warn(text)

    def _run(self) -> None:
        warned = False
        while not self._stopping.wait(self._seconds):
            try:
                self._upload()
                warned = False
            except Exception as error:
                if not warned:
                    text = f"cannot be written, and is tried again: {one_line(error)}"
                    self._warn(f"{self._store.url} {text}")
                warned = True

    def _upload(self) -> None:
        """Uploads what changed since the last time, and deletes what is gone."""
        self._lease.renew()  # a process that was suspended for long may have lost it
        directory = self._local.with_name(f"{self._local.name}.frozen")
        with frozen(self._local, self._uploaded, directory) as states:
            for action, names in plan(states, self._uploaded):
                if action == "put":
                    self._store.put(names, directory)
                    self._uploaded.update((name, states[name]) for name in names)
                    continue
                for name in names:
                    self._store.delete([name])
                    del self._uploaded[name]
