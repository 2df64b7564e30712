"""A lock that admits one process at a time to a directory, also across hosts that share it.

On one host the system's lock (`flock`) decides: it vanishes with its process, however that ended.
On a shared file system it may not reach other hosts, so the file also names its holder, which
renews the entry while it lives. A process that finds the name of another host in the file watches
it for the time of `MISSED` renewals before it takes over; no clocks of two hosts are compared.

Some file systems have no locks: Lustre without its option, some of NFS and FUSE. There whoever
creates `EXCLUSIVE` has the lock, and everybody else watches it in the same way, on the same host as
well: after a kill, the next start waits for a minute.
"""

import errno
import fcntl
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xception_jax.errors import NO_SPACE, STUCK, InputError, last_words
from xception_jax.records import LOCK
from xception_jax.regular_files import open_for_reading, open_regular

RENEWED = 10.0  # seconds between renewals
MISSED = 6  # renewals that a living process does not miss
EXCLUSIVE = f"{LOCK}.exclusive"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)  # macOS has both


@contextmanager
def locked(directory: Path, *, field: str = "--workdir", wait: bool = False) -> Iterator[None]:
    """Locks a directory for this process, creating it if needed.

    Partial files that a killed process has left there are removed.

    Args:
        directory: the directory.
        field: what names the directory, for error messages.
        wait: wait until another process has released it.

    Raises:
        InputError: another process holds the lock; the message says which, where and since when.
            Or the directory cannot be written.
        OSError: the disk is full.
    """
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = _Lock(directory / LOCK)
            break
        except _Held as held:
            if not wait:
                raise InputError(field, str(directory), str(held)) from None
            time.sleep(1.0)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            raise InputError(field, str(directory), f"cannot be written: {error}") from error
    try:
        for partial in directory.glob(".*.partial"):
            partial.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def is_locked(directory: Path) -> bool:
    """Whether a living process holds the lock of a directory; permission to read it is enough.

    A process of another host counts as living until it has missed `MISSED` renewals.
    """
    with suppress(OSError), open_for_reading(directory / EXCLUSIVE) as file:
        return _is_fresh(file.fileno())
    with suppress(OSError), open_for_reading(directory / LOCK) as file:  # absent, or not readable
        entry = _content(file.fileno())
        # Two that ask at once do not lock each other out of a shared lock, and NFS gives no other
        # to a file that was opened for reading.
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # the file system cannot say: whoever ended well has emptied the file
            return _is_fresh(file.fileno()) and bool(entry)
        return _is_fresh(file.fileno()) and _names_another_host(entry)
    return False


class _Held(Exception):
    """Another process holds the lock."""


class _Lock:
    """A held lock file, whose entry a thread renews until `release`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        since = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        self._name = f"process {os.getpid()} on {socket.gethostname()} since {since}"
        self._released = threading.Event()
        self._renewals = 0
        self._file = self._acquire()
        try:
            self._write()
        except OSError:  # the disk is full
            if self._path.name == EXCLUSIVE:
                self._path.unlink(missing_ok=True)
            os.close(self._file)
            raise
        self._renewing = threading.Thread(target=self._renew, name="lock", daemon=True)
        self._renewing.start()

    def release(self) -> None:
        """Releases the lock and empties the file."""
        self._released.set()
        self._renewing.join()
        if self._is_still_held():
            if self._path.name == EXCLUSIVE:
                self._path.unlink(missing_ok=True)
            else:
                os.ftruncate(self._file, 0)
        os.close(self._file)

    def _acquire(self) -> int:
        """The descriptor of the lock file, once no living process holds it."""
        file = _open(self._path)
        # Retried for a moment, since `is_locked` of another process holds the lock for an instant.
        try:
            for attempt in range(5):
                if _try_lock(file):
                    break
                time.sleep(0.1 * attempt)
            else:
                self._refuse(file)
        except OSError as error:
            os.close(file)
            if error.errno not in _NO_LOCKS:
                raise
            return self._create()
        if _names_another_host(_content(file)):
            self._watch(file)
        return file

    def _create(self) -> int:
        """The descriptor of `EXCLUSIVE`, once this process has created it."""
        logging.getLogger(__name__).warning(
            "the file system of %s has no locks (flock): a file that only one process can create "
            "stands for one",
            self._path.parent,
        )
        self._path = self._path.with_name(EXCLUSIVE)
        while True:
            with suppress(FileExistsError):
                return _open(self._path, os.O_EXCL)
            with suppress(FileNotFoundError):  # released meanwhile, or taken away by another
                file = _open(self._path, create=False)
                self._watch(file)
                self._clear_away(file)
                os.close(file)

    def _clear_away(self, dead: int) -> None:
        """Removes the file of a process that is gone; one that replaced it meanwhile is put back.

        If another process watched the same file and was faster, the file is its own by now.
        """
        aside = self._path.with_name(f"{EXCLUSIVE}.{os.getpid()}.{socket.gethostname()}")
        self._path.rename(aside)
        if os.path.samestat(aside.stat(), os.fstat(dead)):
            aside.unlink()
        else:
            aside.rename(self._path)

    def _watch(self, file: int) -> None:
        """Returns once a file's holder is gone; refuses if it, or another, renews the entry.

        It is gone if it has emptied the file, as whoever ends well does, or has renewed nothing for
        long.
        """
        entry = _content(file)
        for _ in range(MISSED):
            time.sleep(RENEWED)
            current = _content(file)
            if entry and not current:
                return
            if current != entry:
                self._refuse(file)

    def _refuse(self, file: int) -> None:
        holder = _content(file).partition(",")[0].strip() or "another process"
        os.close(file)
        raise _Held(f"is in use by {holder}")

    def _write(self) -> None:
        content = f"{self._name}, renewed {self._renewals} times\n".encode()
        os.pwrite(self._file, content, 0)  # before truncation: a reader never finds it empty
        os.ftruncate(self._file, len(content))

    def _renew(self) -> None:
        while not self._released.wait(RENEWED):
            if not self._is_still_held():
                directory = self._path.parent
                gone = f"{directory} was moved or deleted while this process worked in it"
                lost = f"{self._path} is no longer this process's"
                last_words(f"{lost if directory.is_dir() else gone}: it ends")
                os._exit(STUCK)
            self._renewals += 1
            with suppress(OSError):  # the disk is full; a renewal may be missed
                self._write()

    def _is_still_held(self) -> bool:
        """Whether the file is still this process's; a deleted file is created again.

        Another process may have taken over while this one, or its machine, was suspended.
        """
        try:
            current = self._path.stat()
        except FileNotFoundError:
            with suppress(OSError):
                exclusive = self._path.name == EXCLUSIVE
                file = _open(self._path, os.O_EXCL if exclusive else 0)
                if exclusive or _try_lock(file):
                    os.close(self._file)
                    self._file = file
                    self._write()
                    return True
                os.close(file)
            return False
        except OSError:  # the file system is unreachable: nobody can have taken over
            return True
        try:
            same_file = os.path.samestat(current, os.fstat(self._file))
            return same_file and _content(self._file).startswith(self._name)
        except OSError as error:
            # It has become unreachable since. But where the path can be reached and the open file
            # is stale, as NFS says of one that was deleted, somebody else's is in its place.
            return error.errno != errno.ESTALE


def _open(path: Path, flags: int = 0, *, create: bool = True) -> int:
    return open_regular(path, os.O_RDWR | os.O_NOFOLLOW | flags | (os.O_CREAT if create else 0))


def _is_fresh(file: int) -> bool:
    """Whether the entry of a file was renewed as lately as a living process does.

    A host whose clock is wrong may have left one of the future, which would be fresh for years.
    """
    return abs(time.time() - os.fstat(file).st_mtime) < RENEWED * MISSED


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _content(file: int) -> str:
    return os.pread(file, 1000, 0).decode(errors="replace")


def _names_another_host(entry: str) -> bool:
    """Whether a lock file's entry names a process of another host as the holder."""
    holder = re.match(r"process \d+ on (\S+) since \S+, renewed \d+ times\n", entry)
    return holder is not None and holder[1] != socket.gethostname()
