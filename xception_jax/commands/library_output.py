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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xception_jax.regular_files import inside, open_regular

NAME = "libraries.log"
MOST = 1 << 24  # bytes, after which the file is begun anew


@contextmanager
def kept_apart(directory: Path) -> Iterator[None]:
    """Writes into `directory`/`NAME` what libraries write to standard error, and warnings.

    Python's own standard error stays where it was, and so do the lines of this program.

    Args:
        directory: the directory of a run or a sweep; it is created. Where the file cannot be
            written, everything stays as it is.
    """
    log = _open(directory)
    if log is None:
        yield
        return
    before = sys.stderr, warnings.showwarning, sys.unraisablehook
    stream = sys.stderr
    with os.fdopen(
        os.dup(2), "w", buffering=1, encoding=stream.encoding, errors=stream.errors
    ) as original:
        os.dup2(log, 2)
        os.close(log)
        sys.stderr, warnings.showwarning = original, _show_in_log
        sys.unraisablehook = _show_unraisable_in_log
        orbax = logging.getLogger("asyncio")  # in whose name it leaves errors that it also raises
        orbax.propagate, handler = False, _LogHandler()
        orbax.addHandler(handler)
        try:
            yield
        finally:
            gc.collect()  # such errors are told when they are collected
            orbax.propagate = True
            orbax.removeHandler(handler)
            original.flush()
            os.dup2(original.fileno(), 2)
            sys.stderr, warnings.showwarning, sys.unraisablehook = before


def _open(directory: Path) -> int | None:
    with suppress(Exception):
        if sys.stderr.fileno() != 2:  # it is not this process's own, as in tests
            return None
        directory.mkdir(parents=True, exist_ok=True)
        path = inside(directory, NAME)
        if path.exists() and path.stat().st_size > MOST:
            path.unlink()
        return open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW)
    return None


class _LogHandler(logging.Handler):
    """Writes records where libraries in C++ write: into the log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        os.write(2, f"{self.format(record)}\n".encode(errors="replace"))


def _show_in_log(*warning: Any, **_: Any) -> None:
    """Takes the place of `warnings.showwarning`, whose arguments it has."""
    os.write(2, warnings.formatwarning(*warning[:4]).encode(errors="replace"))


def _show_unraisable_in_log(unraisable: Any) -> None:
    """Takes the place of `sys.unraisablehook`: TensorStore's threads have nobody to tell.

    After a failed save, each of its files would give a traceback beside the line that says it.
    """
    trace = traceback.format_exception(
        unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback
    )
    os.write(2, "".join(trace).encode(errors="replace"))
