"""Set-up of a process that computes: memory, cached programs, devices and signals."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from xception_jax.commands.console import errors, warn
from xception_jax.cores import runnable_cores, usable_cores
from xception_jax.errors import INTERRUPTED
from xception_jax.runtime.accelerators import unused_accelerator
from xception_jax.runtime.allocator import keep_memory
from xception_jax.runtime.determinism import is_deterministic
from xception_jax.runtime.program_cache import program_directory


def prepare_jax(*, devices: bool = True, packs: bool = False) -> None:
    """Sets up memory (see `keep_memory`) and the cache of compiled programs, then imports JAX.

    Compiled programs are kept in the user's cache directory, where the next process finds them.
    JAX_COMPILATION_CACHE_DIR names another directory for them, XDG_CACHE_HOME another user cache.

    Args:
        devices: whether JAX may use accelerators; False leaves them to other processes.
        packs: whether each core of a CPU becomes a device, so that the runs of a pack are spread
            over the cores without waiting for each other. A run by itself has the first device and
            the threads of all cores. JAX_NUM_CPU_DEVICES or XLA_FLAGS set another number.
    """
    if devices and (line := unused_accelerator(os.environ)) is not None:
        warn(f"xception-jax: {line}")
    is_deterministic()  # a wrong value is refused now, not when something compiles
    keep_memory()
    _limit_threads()
    import jax

    logging.getLogger("jax._src.xla_bridge").addFilter(_is_news)
    # Orbax logs its options there, and files that it cannot read, which are reported elsewhere.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(program_directory()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if not devices:
        jax.config.update("jax_platforms", "cpu")
    if packs:
        take_cores()


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record of JAX's log says more than `unused_accelerator`, which has the remedy."""
    return "may be present on this machine" not in record.getMessage()


def _limit_threads() -> None:
    """Lets XLA have as many threads as the quota of a container has cores.

    By itself XLA starts one for each core that the process may run on. PJRT_NPROC is XLA's own
    variable; it has to be set before JAX starts.
    """
    if (cores := usable_cores()) < runnable_cores():
        os.environ.setdefault("PJRT_NPROC", str(cores))


def take_cores() -> None:
    """Makes each core of a CPU a device, for packs: see `prepare_jax`."""
    import jax

    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" not in os.environ and "platform_device_count" not in flags:
        with suppress(RuntimeError):  # JAX has been initialized in this process before
            jax.config.update("jax_num_cpu_devices", usable_cores())
            if jax.default_backend() == "cpu" and jax.device_count() > 1:
                jax.config.update("jax_default_device", jax.devices()[0])


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether a stop was requested.

    SIGTERM, SIGHUP and the first SIGINT request a stop at the next step; a second SIGINT or SIGTERM
    kills the process. That is safe: training resumes from whatever is in the directory. Under
    `nohup`, SIGHUP stays ignored.
    """
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        asked = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if errors.is_terminal:
            errors.show_cursor(True)  # a kill would leave it hidden
        warn("stopping after this step; interrupt again to stop at once")

    requests = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    obeyed = [number for number in requests if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in obeyed}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted(error: Exception) -> int:
    """Reports that the same command resumes what was stopped; returns the exit code."""
    warn(f"{error}; the same command goes on from there")
    return INTERRUPTED
