"""Keeps what libraries print away from the terminal, in a file beside the run.

XLA's alarms about slow compilations, the core of W&B and warnings of Python packages come between
the lines of progress. They go to a file: whoever looks for the cause of a failure finds them there.
"""

import gc
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xception_jax.errors import last_words
from xception_jax.regular_files import inside, open_regular

NAME = "libraries.log"
MOST = 1 << 24  # bytes, after which the file is begun anew


@contextmanager
def kept_apart(directory: Path | None) -> Iterator[None]:
    """Writes into `directory`/`NAME` what libraries write to standard error, and warnings.

    Python's own standard error stays where it was, and so do the lines of this program.

    Args:
        directory: the directory of a run or a sweep; it is created. Where the file cannot be
            written, everything stays as it is. What was created and is empty at the end is removed:
            input that is refused leaves nothing. None: nobody keeps what libraries write.
    """
    path = Path(os.devnull) if directory is None else directory / NAME
    missing = [folder for folder in path.parents if not folder.exists()]
    descriptor, is_new = _open(path)
    if descriptor is None:
        yield
        return
    before = sys.stderr, warnings.showwarning, logging.raiseExceptions
    stream = sys.stderr
    with os.fdopen(
        os.dup(2), "w", buffering=1, encoding=stream.encoding, errors=stream.errors
    ) as original:
        os.dup2(descriptor, 2)
        log = _Log(path, descriptor)
        sys.stderr, warnings.showwarning = original, log.show_warning
        logging.raiseExceptions = False  # a logger that finds no space need not say so
        # These two stay: of a save that failed, TensorStore's threads write the other files to the
        # end, and may come to it only while the process ends. In asyncio's name Orbax leaves errors
        # that it also raises.
        sys.unraisablehook = log.show_unraisable
        asyncio_log = logging.getLogger("asyncio")
        asyncio_log.propagate, asyncio_log.handlers = False, [logging.StreamHandler(log)]
        try:
            yield
        finally:
            gc.collect()  # such errors are told when they are collected
            original.flush()
            is_empty = os.fstat(2).st_size == 0
            os.dup2(original.fileno(), 2)
            sys.stderr, warnings.showwarning, logging.raiseExceptions = before
            if is_new and is_empty:
                _remove(path, missing)


def _open(path: Path) -> tuple[int | None, bool]:
    """The descriptor of the log, and whether there was none before; None: there can be none."""
    with suppress(Exception):
        if sys.stderr.fileno() != 2:  # it is not this process's own, as in tests
            return None, False
        if path == Path(os.devnull):
            return os.open(path, os.O_WRONLY), False
        path.parent.mkdir(parents=True, exist_ok=True)
        path = inside(path.parent, path.name)
        if path.exists() and path.stat().st_size > MOST:
            path.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with suppress(FileExistsError):
            return open_regular(path, flags | os.O_EXCL), True
        return open_regular(path, flags), False
    return None, False


def _remove(log: Path, directories: Iterable[Path]) -> None:
    """Removes an empty log, and those of the directories, innermost first, that hold no more."""
    with suppress(OSError):
        log.unlink()
        for directory in directories:
            directory.rmdir()


class _Log:
    """Writes where libraries in C++ write.

    On a full disk the rest is left out, and that is said once: whoever warns must not fail of it.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor, self._is_whole = path, descriptor, True

    def write(self, text: str) -> None:
        """Writes a text, or as much of it as there is space for."""
        try:
            os.write(self._descriptor, text.encode(errors="replace"))
        except OSError as error:
            if self._is_whole:
                self._is_whole = False
                last_words(f"xception-jax: {self._path} is incomplete: {error.strerror}")

    def show_warning(self, *warning: Any, **_: Any) -> None:
        """Takes the place of `warnings.showwarning`, whose arguments it has."""
        self.write(warnings.formatwarning(*warning[:4]))

    def show_unraisable(self, unraisable: Any) -> None:
        """Takes the place of `sys.unraisablehook`: TensorStore's threads have nobody to tell.

        After a failed save, each of its files would give a traceback beside the line that says it.
        """
        trace = traceback.format_exception(
            unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback
        )
        self.write("".join(trace))
