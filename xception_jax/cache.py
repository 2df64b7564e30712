"""The user's cache directory, for files that can be made or downloaded again.

It holds programs that are loaded and run. It is used only if nobody but this user, or root, has
written to it or can. Otherwise the process goes on with an empty cache of its own.
"""

import atexit
import logging
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

_NAME = "xception_jax"


def cache_directory() -> Path:
    """Returns this package's directory below $XDG_CACHE_HOME (if unset, ~/.cache).

    If that cannot be used, it is a temporary directory, which is removed when the process ends. The
    reason is logged once.
    """
    return _usable(os.environ.get("XDG_CACHE_HOME", ""))


@lru_cache
def _usable(parent: str) -> Path:
    try:
        directory = Path(parent or Path.home() / ".cache") / _NAME
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = _distrust(directory)
    except (OSError, RuntimeError) as error:  # there is no home, or it cannot be read
        reason = f"{' '.join(str(error).split())}"
    if not reason:
        return directory
    logging.getLogger(__name__).warning(
        "the cache is not used, so programs are compiled again: %s", reason
    )
    temporary = tempfile.mkdtemp(prefix=f"{_NAME}-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def _distrust(directory: Path) -> str:
    """Why a directory cannot be trusted; empty if it can. Write permission of others is revoked."""
    trusted = (0, os.geteuid())
    found = directory.stat()
    if found.st_uid not in trusted:
        return f"{directory} belongs to another user"
    if found.st_mode & 0o022:
        if found.st_uid != os.geteuid():
            return f"others can write to {directory}"
        directory.chmod(found.st_mode & 0o755)
    for folder, _, names in os.walk(directory):
        for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 - fast
            if os.lstat(path).st_uid not in trusted:
                return f"{path} belongs to another user"
    return ""
