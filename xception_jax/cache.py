"""The user's cache directory, for files that can be made or downloaded again.

It holds programs that are loaded and run. It is used only if nobody but this user, or root, has
written to it or can. Otherwise the process goes on with an empty cache of its own.
"""

import atexit
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from xception_jax.errors import InputError, printable

_NAME = "xception_jax"
_VARIABLE = "XDG_CACHE_HOME"
FETCHED, REMOTE = "fetched", "remote"
"""Folders of the cache that hold no programs: data sets, and working copies of runs."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_ENTER = stat.S_IXGRP | stat.S_IXOTH


def cache_directory() -> Path:
    """Returns this package's directory below $XDG_CACHE_HOME (if unset, ~/.cache).

    If that cannot be used, it is a temporary directory, which is removed when the process ends. The
    reason is logged once.
    """
    return _usable(os.environ.get(_VARIABLE, ""))[0]


def lasting_cache_directory(use: str) -> Path:
    """Returns `cache_directory()`, for files that have to outlast this process.

    Args:
        use: what they are, for the message.

    Raises:
        InputError: the directory cannot be used.
    """
    parent = os.environ.get(_VARIABLE, "")
    directory, reason = _usable(parent)
    if reason:
        lost = f"{use} would be deleted with this process"
        hint = f"set {_VARIABLE} to a directory of yours that lasts"
        raise InputError(_VARIABLE, parent or None, f"{reason}: {lost}; {hint}")
    return directory


@lru_cache
def _usable(parent: str) -> tuple[Path, str]:
    """The directory and, if it is a temporary one, the reason."""
    try:
        directory = Path(parent or Path.home() / ".cache") / _NAME
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close(directory)
        reason = distrust(directory, (FETCHED, REMOTE))
    except (OSError, RuntimeError) as error:  # there is no home, or it cannot be read
        reason = f"{' '.join(str(error).split())}"
    if not reason:
        return directory, ""
    logging.getLogger(__name__).warning(
        "the cache is not used, so programs are compiled again: %s", reason
    )
    temporary = tempfile.mkdtemp(prefix=f"{_NAME}-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary), reason


def _close(directory: Path) -> None:
    """Closes a directory of this user to all others if they can write to it."""
    status = directory.stat()
    if status.st_uid == os.geteuid() and status.st_mode & _OTHERS_WRITE:
        directory.chmod(stat.S_IRWXU)


def distrust(directory: Path, data: Collection[str] = ()) -> str:
    """The reason why the programs in a directory cannot be trusted; empty if they can.

    The directory and all in it must belong to this user or root, and nobody else may write there.
    What other processes remove meanwhile does not matter.

    Args:
        directory: the directory.
        data: names of folders in it that hold no programs. There may be millions of files in them:
            only the folders themselves are checked.

    Raises:
        OSError: the directory, or one in it, cannot be read.
    """
    trusted = (0, os.geteuid())
    # Below a directory that others cannot enter, permissions of theirs have no effect.
    is_open = bool(directory.stat().st_mode & _OTHERS_ENTER)

    def stop(error: OSError) -> None:  # by itself, `walk` passes over what it may not read
        if not isinstance(error, FileNotFoundError) or error.filename == str(directory):
            raise error

    for folder, folders, names in os.walk(directory, onerror=stop):
        is_top = folder == str(directory)
        unopened = [name for name in folders if is_top and name in data]
        folders[:] = [name for name in folders if name not in unopened]
        below = (os.path.join(folder, name) for name in (*unopened, *names))  # noqa: PTH118 - fast
        for path in (folder, *below):
            try:
                status = os.stat(path) if path == str(directory) else os.lstat(path)  # noqa: PTH116
            except FileNotFoundError:  # another process has just removed or renamed it
                if path == str(directory):
                    raise
                continue
            if status.st_uid not in trusted:
                return f"{printable(str(path))} belongs to another user"
            if is_open and status.st_mode & _OTHERS_WRITE and not stat.S_ISLNK(status.st_mode):
                return f"others can write to {printable(str(path))}"
    return ""
