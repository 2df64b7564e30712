"""How a process that computes is set up: its memory, its compiled programs, how it is stopped."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from xception_jax.cache import cache_directory
from xception_jax.commands.console import errors, warn
from xception_jax.errors import INTERRUPTED
from xception_jax.runtime.allocator import keep_memory


def prepare_jax(*, devices: bool = True, packs: bool = False) -> None:
    """Sets up memory (see `keep_memory`) and the cache of compiled programs, then imports JAX.

    Compiled programs are kept in the user's cache directory and found by the next process:
    JAX_COMPILATION_CACHE_DIR names another place, XDG_CACHE_HOME another cache directory.

    Args:
        devices: False: JAX takes no accelerator, which are left to other processes.
        packs: on a CPU each core is a device, of which a run alone has the first, with the threads
            of all; packs are spread over them: a core that has whole runs waits for no other. It is
            one device where JAX_NUM_CPU_DEVICES=1, as many as it says, or as XLA_FLAGS do.
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
    if packs:
        take_cores()


def take_cores() -> None:
    """Makes a device of each core of a CPU, for packs: see `prepare_jax`."""
    import jax

    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" not in os.environ and "platform_device_count" not in flags:
        with suppress(RuntimeError):  # this process has asked for its devices before
            jax.config.update("jax_num_cpu_devices", _cores())
            if jax.default_backend() == "cpu" and jax.device_count() > 1:
                jax.config.update("jax_default_device", jax.devices()[0])


def _cores() -> int:
    """That this process may run on."""
    own = getattr(os, "sched_getaffinity", None)
    return len(own(0)) if own else os.cpu_count() or 1


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
