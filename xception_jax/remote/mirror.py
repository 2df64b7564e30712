"""A directory of this machine that stands for one in a store, and is sent there as it changes."""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from xception_jax.errors import InputError, one_line, refused
from xception_jax.records import CHECKPOINTS, METRICS_LOG, RUN, SWEEP
from xception_jax.remote.lease import NAME as LEASE
from xception_jax.remote.lease import Lease, TakenOver, living_holder
from xception_jax.remote.parts import Parts, is_part, joined
from xception_jax.remote.store import Store, kept_for, url_of

# What says that others are whole: sent after them, as they were before them.
_RECORDS = (RUN, SWEEP)
_COMMITTED = "_CHECKPOINT_METADATA"
_OF_THIS_MACHINE = (".lock", LEASE)
_UNFINISHED = (".partial", ".tmp", "orbax-checkpoint-tmp")
_TRIES = 3

State = dict[str, tuple[int, int]]


@contextmanager
def mirrored(place: Path, warn: Callable[[str], None]) -> Iterator[Path]:
    """The directory to work in for `place`: itself, or what is kept in a store from here on.

    What is there is fetched first, unless this machine has it, newer perhaps, from a session that
    was killed. XCEPTION_JAX_UPLOAD_SECONDS is the interval at which changes are sent (30).

    Args:
        place: a directory, or a URL.
        warn: takes a line of text, also from another thread.

    Raises:
        InputError: the store cannot be used, or another process works on the directory.
        OSError: at the end, not everything could be sent.
    """
    if (url := url_of(place)) is None:
        yield place
        return
    seconds = _interval()
    local = kept_for(url, "remote")
    with refused("--workdir", url, "cannot be used"):
        store = Store(url)
        lease = Lease(store, local.parent / "session", seconds)
        try:
            if not (lease.continues and local.is_dir()):
                _fetch(store, local)
            lease.remember()
            mirror = _Mirror(store, local, lease, warn)
        except BaseException:
            lease.release()
            raise
    mirror.start(seconds)
    try:
        yield local
    except BaseException:
        mirror.end(quietly=True)
        raise
    mirror.end()


@contextmanager
def copied(place: Path, *, changes: bool = False, checkpoints: bool = False) -> Iterator[Path]:
    """The directory to read for `place`: itself, or a copy of what is in a store.

    Args:
        place: a directory, or a URL.
        changes: send what has been changed in the copy at the end.
        checkpoints: copy them, too.

    Raises:
        InputError: the store cannot be used, or there is nothing.
    """
    if (url := url_of(place)) is None:
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="xception-jax-") as temporary:
        local = Path(temporary) / (PurePosixPath(url).name or "store")
        local.mkdir()
        with refused("directory", url, "cannot be read"):
            store = Store(url)
            _pull(store, local, lambda name: checkpoints or "/checkpoints/" not in f"/{name}")
        if not any(local.iterdir()):
            raise InputError("directory", url, "there is nothing")
        _show_holder(store, local)
        before = _state(local)
        yield local
        if changes:
            after = _state(local)
            with refused("directory", url, "cannot be written"):
                store.put([name for name in after if after[name] != before.get(name)], local)
                store.delete(name for name in before if name not in after)


def _show_holder(store: Store, local: Path) -> None:
    """Marks the copy of every run as in use where somebody works on the directory, for `status`."""
    with suppress(FileNotFoundError):
        holder = living_holder(store)
        for record in local.rglob(RUN) if holder else ():
            (record.parent / ".lock").write_text(f"{holder}, renewed 0 times\n")


def _interval() -> float:
    text = os.environ.get("XCEPTION_JAX_UPLOAD_SECONDS", "30")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        reason = "must be a number from 0.1 to 3600"
        raise InputError("XCEPTION_JAX_UPLOAD_SECONDS", text, reason, 30)
    return seconds


def _fetch(store: Store, local: Path) -> None:
    """Makes `local` what is in the store; a kill leaves it as it was."""
    incoming = local.with_name(f"{local.name}.partial")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    _pull(store, incoming, lambda _: True)
    shutil.rmtree(local, ignore_errors=True)
    incoming.rename(local)


def _pull(store: Store, local: Path, wanted: Callable[[str], bool]) -> None:
    """What is in the store; of checkpoints, those that are there as a whole."""
    names = [name for name in store.sizes() if name != LEASE and wanted(name)]
    there = set(names)
    whole = [name for name in names if not is_part(name) and _is_whole(name, there)]
    store.get(whole, local)
    for name, content in joined(store, names).items():
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(content)


def _is_whole(name: str, there: set[str]) -> bool:
    checkpoint = _checkpoint(name)
    return checkpoint is None or f"{checkpoint}/{_COMMITTED}" in there


def _checkpoint(name: str) -> str | None:
    """The directory of the checkpoint that a file belongs to."""
    parts = name.split("/")
    for place, part in enumerate(parts[:-2]):
        if part == CHECKPOINTS and parts[place + 1].isdecimal():
            return "/".join(parts[: place + 2])
    return None


def _state(local: Path) -> State:
    """Size and time of every file that is to be kept, by name."""
    found = {}
    for folder, _, files in os.walk(local):
        for file in files:
            path = Path(folder, file)
            name = path.relative_to(local).as_posix()
            unfinished = any(mark in name for mark in _UNFINISHED)
            if unfinished or path.is_symlink() or file in _OF_THIS_MACHINE:
                continue
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            found[name] = stat.st_size, stat.st_mtime_ns
    return found


class _Mirror:
    """Sends what changes in `local`, in an order of which every beginning can be gone on from."""

    def __init__(
        self, store: Store, local: Path, lease: Lease, warn: Callable[[str], None]
    ) -> None:
        self._store, self._local, self._lease, self._warn = store, local, lease, warn
        sizes = store.sizes()
        self._parts = Parts(store, sizes)
        here = _state(local)
        # A checkpoint never changes, and one that is not here any more is to go. Of other files it
        # is not known what the store has of them; what only the store has is another command's.
        self._sent: State = {
            name: here[name]
            if _checkpoint(name) and here.get(name, (-1, 0))[0] == size
            else (-1, 0)
            for name, size in sizes.items()
            if name in here or _checkpoint(name)
        }
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._seconds = 0.0
        self._lost: TakenOver | None = None

    def start(self, seconds: float) -> None:
        """Sends at this interval, from another thread."""
        self._seconds = seconds
        self._thread.start()

    def end(self, *, quietly: bool = False) -> None:
        """Sends what is left and lets go of the directory.

        Raises:
            OSError: it could not be sent, and `quietly` is not said.
        """
        self._over.set()
        self._thread.join()
        error: Exception | None = self._lost
        for attempt in range(_TRIES if error is None else 0):
            try:
                self._lease.renew()
                self._send()
                self._lease.release()
                return
            except Exception as failure:
                error = failure
                if attempt + 1 < _TRIES:
                    threading.Event().wait(2.0**attempt)
        if self._lost is None:
            with suppress(Exception):
                self._lease.release()
        said = "" if error is None else one_line(error)
        text = f"not everything is in {self._store.url} ({said}); it is in {self._local}"
        if self._lost is None:
            text += ", and the same command on this machine sends it"
        if quietly:
            self._warn(text)
        else:
            raise OSError(text)

    def _run(self) -> None:
        warned = False
        while not self._over.wait(self._seconds):
            try:
                self._lease.renew()
                self._send()
                warned = False
            except TakenOver as error:
                self._lost = error
                self._warn(f"{error}: nothing is sent any more")
                return
            except Exception as error:
                if not warned:
                    said = f"cannot be written, and is tried again: {one_line(error)}"
                    self._warn(f"{self._store.url} {said}")
                warned = True

    def _send(self) -> None:
        """What has changed, since the last time, and what is gone.

        Records are read first and sent last: what they say is then true of what is sent before.
        """
        first = _state(self._local)
        records = {
            name: (self._local / name).read_bytes()
            for name in first
            if PurePosixPath(name).name in _RECORDS and self._sent.get(name) != first[name]
        }
        now = _state(self._local)
        changed = [name for name in now if self._sent.get(name) != now[name]]
        for log in [name for name in changed if PurePosixPath(name).name == METRICS_LOG]:
            self._parts.send(log, (self._local / log).read_bytes())
            self._sent[log] = now[log]
        rest = [
            name for name in changed if PurePosixPath(name).name not in (METRICS_LOG, *_RECORDS)
        ]
        marks = [name for name in rest if PurePosixPath(name).name == _COMMITTED]
        for turn in (set(rest) - set(marks), marks):
            for name in self._store.put(sorted(turn), self._local):
                self._sent[name] = now[name]
        for name, content in records.items():
            self._store.write(name, content)
            self._sent[name] = first[name]
        self._delete([name for name in self._sent if name not in now])

    def _delete(self, names: Iterable[str]) -> None:
        """A checkpoint's mark first: half of one is none."""
        for name in sorted(names, key=lambda name: PurePosixPath(name).name != _COMMITTED):
            self._store.delete([name])
            self._parts.forget(name)
            del self._sent[name]
