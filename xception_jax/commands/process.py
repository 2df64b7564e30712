"""How a process that computes is set up: its memory, its compiled programs, how it is stopped."""

import ctypes
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from xception_jax.cache import cache_directory
from xception_jax.commands.console import errors, warn
from xception_jax.errors import INTERRUPTED, require_choice

# Of mallopt(3), by number as in malloc.h: nothing is given back to the system or mapped by itself,
# the heap grows by 64 MiB at a time, and all threads share it.
_KEEP_MEMORY = {-4: 0, -1: -1, -2: 64 << 20, -8: 1}  # MMAP_MAX, TRIM_THRESHOLD, TOP_PAD, ARENA_MAX


def keep_memory() -> bool:
    """Has the C library keep what is freed, for the next train step to take; whether it does.

    A train step frees and takes hundreds of megabytes. By default glibc gives large blocks back to
    the system at once, which has to clear every page of them anew in each step. The price: a
    process stays as large as it ever was.

    For Linux with glibc; elsewhere, and where XCEPTION_JAX_ALLOCATOR=system, nothing is done. Call
    it before JAX is imported. The environment does the same for a program of one's own:
    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=16000000000 MALLOC_TOP_PAD_=67108864
    MALLOC_ARENA_MAX=1.

    Raises:
        InputError: XCEPTION_JAX_ALLOCATOR is neither "keep" nor "system".
    """
    asked = os.environ.get("XCEPTION_JAX_ALLOCATOR", "keep")
    require_choice("XCEPTION_JAX_ALLOCATOR", asked, ("keep", "system"))
    if asked == "system" or sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    taken = [mallopt(option, value) == 1 for option, value in _KEEP_MEMORY.items()]
    return all(taken)


def prepare_jax(*, devices: bool = True) -> None:
    """Sets up memory (see `keep_memory`) and the cache of compiled programs, then imports JAX.

    Compiled programs are kept in the user's cache directory and found by the next process:
    JAX_COMPILATION_CACHE_DIR names another place, XDG_CACHE_HOME another cache directory.

    Args:
        devices: False: JAX takes no accelerator, which are left to other processes.
    """
    keep_memory()
    import jax

    # Orbax tells of its own options there, and of what it cannot read, which is said elsewhere.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if not devices:
        jax.config.update("jax_platforms", "cpu")


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Asks, on SIGTERM and the first SIGINT, for a stop at the next step; a second SIGINT kills.

    To be killed at once is safe: whatever is in the directory can be gone on with.
    """
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if errors.is_terminal:
            errors.show_cursor(True)  # a kill would leave it hidden
        warn("stopping after this step; interrupt again to stop at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted(error: Exception) -> int:
    """Says that what was stopped can be gone on with; the exit code."""
    warn(f"{error}; the same command goes on from there")
    return INTERRUPTED
