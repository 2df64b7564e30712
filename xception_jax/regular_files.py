"""Opens files that somebody else may have put there, and refuses what could do harm.

Opening a pipe waits for its other end, and a device such as /dev/zero never ends: whoever hands
over a directory could stop a command in this way, or take all memory. Through a link in it, a
command would write to files elsewhere.
"""

import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from xception_jax.errors import InputError

MAX_BYTES = 1 << 30
"""Limit of a file that is read whole, unless the reader states another one."""

FILE, DIRECTORY, OTHER = "file", "directory", "other"
"""What can lie at a path, see `kind_of`."""


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Opens a regular file without waiting; returns its descriptor.

    Args:
        path: path of the file; a link to a regular file is followed unless `flags` forbid it.
        flags: flags of `os.open`. A file that they create can be read and written by everybody
            whom the process's mask admits.

    Raises:
        OSError: the file cannot be opened, or is a directory, a pipe, a socket or a device.
    """
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    except ValueError as error:  # a null character, or half of one beyond 16 bits
        raise OSError(errno.EINVAL, "is no name of a file", str(path)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return descriptor


def kind_of(field: str, path: Path) -> str | None:
    """What lies at a path that the user gave: `FILE`, `DIRECTORY`, `OTHER`, or None for nothing.

    `Path.exists` and its like raise where the system does not let us look, or call it nothing,
    which differs by Python's version.

    Args:
        field: what the path is, for messages.
        path: the path; links are followed.

    Raises:
        InputError: the system does not say, as of a directory that the user may not enter.
    """
    try:
        return kind(path)
    except OSError as error:
        raise InputError(field, str(path), f"cannot be read: {error.strerror}") from error


def kind(path: Path) -> str | None:
    """What lies at a path, as `kind_of`; raises `OSError` where the system does not say."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a null character
        return None
    return FILE if stat.S_ISREG(mode) else DIRECTORY if stat.S_ISDIR(mode) else OTHER


def open_for_reading(path: Path) -> io.BufferedReader:
    """Opens a regular file for reading; see `open_regular`."""
    return io.BufferedReader(io.FileIO(open_regular(path)))


def read_regular(path: Path, most: int = MAX_BYTES) -> bytes:
    """Reads a regular file whole, as it is when it is opened.

    Args:
        path: path of the file.
        most: limit of its size, bytes.

    Raises:
        OSError: the file cannot be read, is not a regular one, or is larger than the limit.
    """
    with open_for_reading(path) as file:
        # Of the limit itself `read` would allocate as much, however small the file.
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise OSError(errno.EFBIG, f"has more than {most:,} bytes", str(path))
        return file.read(size)


def write_regular(path: Path, content: bytes) -> None:
    """Writes a regular file anew, through to the disk; a link in its place is not followed.

    Raises:
        OSError: the file cannot be written; a part of it may have been.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with io.FileIO(open_regular(path, flags), "wb") as file:
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())


def directory_problem(directory: Path) -> str | None:
    """Why nothing can be read in a directory that the user named; None: it can."""
    try:
        found = kind(directory)
    except OSError as error:
        loops = error.errno == errno.ELOOP
        return "no such directory" if loops else f"cannot be read: {error.strerror}"
    if found is None:
        return "no such directory"
    if found != DIRECTORY:
        return "is a file; a directory is needed"
    # Of the user whose permissions the process has, who need not be the one that started it.
    effective = os.access in os.supports_effective_ids
    may_read = os.access(directory, os.R_OK | os.X_OK, effective_ids=effective)
    return None if may_read else f"cannot be read: {os.strerror(errno.EACCES)}"


def walk_regular_tree(directory: Path) -> Iterator[tuple[str, int]]:
    """The path and the size of every file in a directory that a library is to read.

    The library would open whatever lies there, and read all of it: a file without content takes no
    space on a disk, and yet as much memory as it says.

    Raises:
        OSError: something below it is no regular file and no directory, but a pipe or a link.
    """
    for folder, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = os.path.join(folder, name)  # noqa: PTH118 - of thousands of files, `Path` is slow
            try:
                entry = os.lstat(path)
            except FileNotFoundError:  # deleted meanwhile
                continue
            if stat.S_ISREG(entry.st_mode):
                yield path, entry.st_size
            elif not stat.S_ISDIR(entry.st_mode):
                raise OSError(errno.EINVAL, "is not a regular file", path)


def require_small_tree(directory: Path, most: int) -> None:
    """Checks a directory that a library is to read.

    Args:
        directory: the directory.
        most: limit of the size of all its files together, bytes.

    Raises:
        OSError: the files are larger, or one of them is no regular file.
    """
    left = most
    for path, size in walk_regular_tree(directory):
        left -= size
        if left < 0:
            reason = f"and the files beside it have over {most:,} bytes"
            raise OSError(errno.EFBIG, reason, path)


def inside(directory: Path, name: str) -> Path:
    """Returns the path of something in a directory that is to be written or cleaned up.

    Args:
        directory: a directory that the user named, which may be a link.
        name: relative path in it.

    Raises:
        InputError: by a link in the directory, the path leads out of it or back to itself.
    """
    path = directory / name
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            reason = "is a link that leads back to itself; remove the link"
            raise InputError("directory", str(path), reason) from error
    target = path.resolve()
    if not target.is_relative_to(directory.resolve()):
        reason = f"leads out of {directory} to {target} by a link; remove the link"
        raise InputError("directory", str(path), reason)
    return path
