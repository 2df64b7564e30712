"""One process at a time in a directory, on one host and on several that share its file system.

On one host the system's own lock (`flock`) decides: it is gone when its process is, however that
ended. Where hosts share a file system it may not reach from one to the other, so the file also
says who holds it, and its holder renews that while it lives. Whoever finds another host's name in
it looks on for `MISSED` renewals, by its own patience and nobody's clock, before it takes over.
"""

import fcntl
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xception_jax.errors import STUCK, InputError
from xception_jax.records import LOCK
from xception_jax.runtime.run_directory import now

RENEWED = 10.0  # seconds between renewals
MISSED = 6  # renewals that a living process does not miss


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the directory, which is made if need be, for this process.

    What a killed process has left half-written there is removed.

    Raises:
        InputError: another process holds it; says which, where, and since when.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        held = _Lock(directory / LOCK)
    except OSError as error:
        raise InputError("--workdir", str(directory), f"cannot be written: {error}") from error
    try:
        for partial in directory.glob(".*.partial"):
            partial.unlink(missing_ok=True)
        yield
    finally:
        held.release()


def is_locked(directory: Path) -> bool:
    """Whether a living process holds the directory; needs no more than permission to read.

    Another host's counts as living while its last renewal is younger than it may be.
    """
    with suppress(OSError), (directory / LOCK).open() as file:  # none, or not to be read
        if not _take(file.fileno()):
            return True
        age = time.time() - os.fstat(file.fileno()).st_mtime
        return age < RENEWED * MISSED and _is_elsewhere(_content(file.fileno()))
    return False


class _Lock:
    """The lock file in `path`, taken and kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = f"process {os.getpid()} on {socket.gethostname()} since {now()}"
        self._over = threading.Event()
        self._beat = 0
        self._file = self._wait()
        self._write()
        self._renewing = threading.Thread(target=self._renew, name="lock", daemon=True)
        self._renewing.start()

    def release(self) -> None:
        """Lets go: an empty file holds nothing."""
        self._over.set()
        self._renewing.join()
        if self._is_there():
            os.ftruncate(self._file, 0)
        os.close(self._file)

    def _wait(self) -> int:
        """The file, once it is nobody's."""
        file = _open(self._path)
        # Tried for a moment, since `is_locked` of another process holds the lock for an instant.
        for attempt in range(5):
            if _take(file):
                break
            time.sleep(0.1 * attempt)
        else:
            self._refuse(file)
        first = _content(file)
        if _is_elsewhere(first):
            for _ in range(MISSED):
                time.sleep(RENEWED)
                if _content(file) != first:
                    self._refuse(file)
        return file

    def _refuse(self, file: int) -> None:
        holder = _content(file).partition(",")[0].strip() or "another process"
        os.close(file)
        raise InputError("--workdir", str(self._path.parent), f"is in use by {holder}")

    def _write(self) -> None:
        content = f"{self._name}, renewed {self._beat} times\n".encode()
        os.pwrite(self._file, content, 0)  # over what is there: a reader never meets nothing
        os.ftruncate(self._file, len(content))

    def _renew(self) -> None:
        while not self._over.wait(RENEWED):
            if not self._is_there():
                os.write(2, f"{self._path} is no longer this process's: it ends\n".encode())
                os._exit(STUCK)
            self._beat += 1
            with suppress(OSError):  # a full disk; a renewal may be missed
                self._write()

    def _is_there(self) -> bool:
        """Whether the file is still this one; one that was deleted is made again.

        Another process may have taken over while this one, or its machine, was stopped.
        """
        try:
            there = self._path.stat()
        except FileNotFoundError:
            with suppress(OSError):
                file = _open(self._path)
                if _take(file):
                    os.close(self._file)
                    self._file = file
                    self._write()
                    return True
                os.close(file)
            return False
        except OSError:  # the file system is away: nobody can have taken over
            return True
        ours = os.fstat(self._file)
        mine = (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
        return mine and _content(self._file).startswith(self._name)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _take(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _content(file: int) -> str:
    return os.pread(file, 1000, 0).decode(errors="replace")


def _is_elsewhere(content: str) -> bool:
    """Whether a process of another host says that it holds the file."""
    said = re.match(r"process \d+ on (\S+) since \S+, renewed \d+ times\n", content)
    return said is not None and said[1] != socket.gethostname()
