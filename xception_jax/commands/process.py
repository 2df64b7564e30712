"""How a process that computes is set up: where compiled programs are kept, how it is stopped."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xception_jax.commands.console import errors, warn


def prepare_jax() -> None:
    """Compiled programs are kept in the user's cache directory and found by the next process.

    JAX_COMPILATION_CACHE_DIR names another place, XDG_CACHE_HOME another cache directory.
    """
    import jax

    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of its own options there
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(cache / "xception_jax" / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


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
