"""The files and folders that a user names for data: what cannot be reached is named in one line.

`Path.is_dir` and its like raise errors of permission on some versions of Python, and say on others
that nothing is there.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xception_jax.errors import InputError
from xception_jax.regular_files import DIRECTORY, kind

# Errors of the path itself. Those of disks and networks are no fault of what the user said.
_UNREACHABLE = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR)


def expanded(field: str, location: str | Path) -> Path:
    """Returns a path with the home directory for its `~` or `~user`.

    Raises:
        InputError: there is no such user, or the user has no home directory.
    """
    try:
        return Path(location).expanduser()
    except RuntimeError as error:
        reason = "the home directory that its ~ stands for is not known"
        raise InputError(field, str(location), reason) from error


def is_folder(path: Path) -> bool:
    """Returns whether a path leads to a folder; False where nothing is there.

    Raises:
        OSError: that cannot be found out, as for want of permission.
    """
    return kind(path) == DIRECTORY


@contextmanager
def reachable(field: str, location: str | Path) -> Iterator[None]:
    """Turns errors of permission, of links that loop and of long names into an `InputError`.

    Args:
        field: what the user named.
        location: its value; what is opened inside lies in it.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNREACHABLE:
            raise
        inner = "" if error.filename in (None, str(location)) else f"{error.filename} "
        reason = f"{inner}cannot be read: {error.strerror}"
        raise InputError(field, str(location), reason) from error


def require_readable_path(field: str, path: Path) -> None:
    """Raises `InputError` unless a path leads to something that can be read."""
    with reachable(field, path):
        try:
            is_directory = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            if error.errno not in _NOTHING_THERE:
                raise
            raise InputError(field, str(path), "no such file or directory") from error
        except ValueError as error:
            raise InputError(field, str(path), "is no name of a file") from error
        if is_directory:
            os.scandir(path).close()
            os.stat(f"{path}/.")  # noqa: PTH116 - `Path` drops the dot, which asks for permission
