"""Opens files that somebody else may have put there, and refuses what could do harm.

Opening a pipe waits for its other end, and a device such as /dev/zero never ends: whoever hands
over a directory could stop a command in this way, or take all memory. Through a link in it, a
command would write to files elsewhere.
"""

import errno
import io
import os
import stat
from pathlib import Path

from xception_jax.errors import InputError

MAX_BYTES = 1 << 30
"""Limit of a file that is read whole, unless the reader states another one."""

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk: nothing is wrong with what the user said, and later there may be space."""


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Opens a regular file without waiting; returns its descriptor.

    Args:
        path: path of the file; a link to a regular file is followed unless `flags` forbid it.
        flags: flags of `os.open`. A file that they create can be read and written by everybody
            whom the process's mask admits.

    Raises:
        OSError: the file cannot be opened, or is a directory, a pipe, a socket or a device.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return descriptor


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


def require_regular_tree(directory: Path) -> None:
    """Checks a directory before a library reads it, which would open whatever lies there.

    Raises:
        OSError: something below it is no regular file and no directory, but a pipe or a link.
    """
    for folder, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = os.path.join(folder, name)  # noqa: PTH118 - of thousands of files, `Path` is slow
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:  # deleted meanwhile
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise OSError(errno.EINVAL, "is not a regular file", path)


def inside(directory: Path, name: str) -> Path:
    """Returns the path of something in a directory that is to be written or cleaned up.

    Args:
        directory: a directory that the user named, which may be a link.
        name: relative path in it.

    Raises:
        InputError: by a link in the directory, the path leads out of it.
    """
    path = directory / name
    target = path.resolve()
    if not target.is_relative_to(directory.resolve()):
        reason = f"leads out of {directory} to {target} by a link; remove the link"
        raise InputError("directory", str(path), reason)
    return path
