"""Set-up of a process that computes: memory, cached programs, devices and signals."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

from xception_jax.commands.console import errors, warn
from xception_jax.cores import runnable_cores, usable_cores
from xception_jax.errors import INTERRUPTED, InputError, one_line
from xception_jax.runtime.accelerators import unused_accelerator
from xception_jax.runtime.allocator import keep_memory
from xception_jax.runtime.determinism import is_deterministic
from xception_jax.runtime.program_cache import is_trusted, program_directory

# Options of JAX that a variable may set, with their only values here: the others change the random
# numbers of a seed, which no run id would tell, or forbid what a training step has to do.
_NEEDED = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_disable_jit": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_random_seed_offset": 0,
    "jax_threefry_partitionable": True,
    "jax_transfer_guard": None,
}


_XLA_ALARM = re.compile(r"^[EF]\d{4} [^\]\n]*flags[^\]\n]*\] (.*)", re.MULTILINE)

# A sweep on two cores had up to 40 threads at a time, JAX's and those of checkpoints.
_THREADS, _THREADS_PER_CORE = 32, 4

DEVICE_VARIABLES = (
    "JAX_NUM_CPU_DEVICES",
    "JAX_DEFAULT_DEVICE",
    "JAX_PLATFORMS",
    "JAX_PLATFORM_NAME",
)
"""Variables by which the environment asks JAX for devices."""


def prepare_jax(*, devices: bool = True, packs: bool = False) -> None:
    """Sets up memory (see `keep_memory`) and the cache of compiled programs, then imports JAX.

    Compiled programs are kept in the user's cache directory, where the next process finds them.
    JAX_COMPILATION_CACHE_DIR names another directory for them, which is not used if others can
    write to it; XDG_CACHE_HOME names another user cache.

    Args:
        devices: whether JAX may use accelerators; False leaves them to other processes.
        packs: whether each core of a CPU becomes a device, so that the runs of a pack are spread
            over the cores without waiting for each other. A run by itself has the first device and
            the threads of all cores. JAX_NUM_CPU_DEVICES or XLA_FLAGS set another number.

    Raises:
        InputError: an environment variable has a value that JAX refuses, or that training cannot
            work with; or too few threads are allowed.
    """
    if devices and (line := unused_accelerator(os.environ)) is not None:
        warn(f"xception-jax: {line}")
    is_deterministic()  # a wrong value is refused now, not when something compiles
    keep_memory()
    _limit_threads()
    _require_threads()
    _require_flags(os.environ.get("XLA_FLAGS", ""))
    _import_jax()
    import jax

    logging.getLogger("jax._src.xla_bridge").addFilter(_is_news)
    # Orbax logs its options there, and files that it cannot read, which are reported elsewhere.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    if (named := os.environ.get("JAX_COMPILATION_CACHE_DIR")) is None:
        jax.config.update("jax_compilation_cache_dir", str(program_directory()))
    elif named and not is_trusted(named):
        jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if not devices:
        jax.config.update("jax_platforms", "cpu")
    if packs:
        take_cores()


@lru_cache(maxsize=1)
def _require_flags(flags: str) -> None:
    """Raises `InputError` for flags that XLA refuses, which it would say in a hundred lines.

    It ends the process that reads them, so another one reads them first; that takes 0.2 s.
    """
    if not flags:
        return
    read = "from jaxlib.xla_client import _xla; _xla.CompileOptions()"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", read],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return
    if done.returncode and (alarm := _XLA_ALARM.search(done.stderr)) is not None:
        raise InputError("XLA_FLAGS", flags, f"XLA refuses it ({alarm[1]})")


def _import_jax() -> None:
    """Imports JAX, which reads its variables then; raises `InputError` for one that is no use."""
    try:
        import jax
    except ValueError as error:
        names = [name for name in sorted(os.environ) if name.startswith("JAX_")]
        # Its message has the name of the variable or of the flag.
        name = next((name for name in names if name.lower() in str(error).lower()), "JAX_*")
        raise InputError(name, os.environ.get(name), f"JAX refuses it ({error})") from error
    for option, needed in _NEEDED.items():
        if (value := jax.config.values[option]) != needed:
            name = option.upper()
            reason = f"every run needs {needed}, whatever the machine; unset it"
            raise InputError(name, os.environ.get(name, value), reason)
    # Arrays here state their types, and no run id tells what others would be.
    jax.config.update("jax_enable_x64", False)


def require_devices() -> None:
    """Starts JAX's devices; raises `InputError` where it has none that the environment asks for.

    On several hosts this comes after the processes are connected, and everywhere before a directory
    is claimed.
    """
    import jax

    try:
        jax.devices()
        if isinstance(default := jax.config.values["jax_default_device"], str):
            jax.devices(default)
    except Exception as error:  # an AssertionError, too
        # Every machine has a CPU, if it is to be one or more.
        names = DEVICE_VARIABLES[0 if "'cpu'" in str(error) else 1 :]
        name = next((name for name in names if os.environ.get(name)), "JAX_PLATFORMS")
        reason = f"JAX finds no such device ({one_line(error)}); JAX_PLATFORMS=cpu uses the CPU"
        raise InputError(name, os.environ.get(name), reason) from error


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


def _require_threads() -> None:
    """Raises `InputError` if the system does not let this process start as many threads as it will.

    XLA would end the process with a stack of its own. Whatever the limit is called, to start them
    is the one way to know.
    """
    needed = _THREADS + _THREADS_PER_CORE * usable_cores()
    release, started = threading.Event(), []
    try:
        for _ in range(needed):
            thread = threading.Thread(target=release.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        reason = (
            f"the system lets this process start no more, and it needs about {needed}; raise "
            "`ulimit -u`, or the container's limit of processes"
        )
        raise InputError("threads", len(started), reason) from error
    finally:
        release.set()
        for thread in started:
            thread.join()


def take_cores() -> None:
    """Makes each core of a CPU a device, for packs: see `prepare_jax`."""
    import jax

    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" not in os.environ and "platform_device_count" not in flags:
        with suppress(RuntimeError):  # JAX has been initialized in this process before
            jax.config.update("jax_num_cpu_devices", usable_cores())
            require_devices()
            if jax.default_backend() == "cpu" and jax.device_count() > 1:
                jax.config.update("jax_default_device", jax.devices()[0])
    require_devices()


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
        # The step that is interrupted goes on to its end, whether or not this can be said: the
        # terminal may be what is gone, or the interrupted code may be writing to it.
        with suppress(OSError, RuntimeError):
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
