"""A watchdog that ends a process that hangs in a device, a collective or a file system.

Such a process would occupy its machine until someone looks. Once it is ended, with exit code 70 and
the run recorded as failed, the run is retried from its last checkpoint.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType

from xception_jax.errors import STUCK, last_words

Record = Callable[[str, str], None]

_UNTIMED_FACTOR = 10  # longer limit of compilation, evaluation, saving and the first steps
_SLOW_FACTOR = 20  # limit of a step, in units of its usual duration
_RECORD_SECONDS = 30.0  # for the record of the failure, which may hang like everything else


class Watchdog:
    """Context in which `alive` has to be called regularly, or the process ends.

    It notices a thread that waits in the system or in XLA, but not one that never releases Python's
    global lock. Time while the process is stopped or the machine suspended does not count.

    Args:
        seconds: time limit between two calls of `alive`; None disables the watchdog.
        record: function called with the reason and the stacks of all threads, from another thread,
            just before the process ends.
    """

    def __init__(self, seconds: float | None, record: Record) -> None:
        self._seconds, self._record = seconds, record
        self._closed = threading.Event()
        self._idle, self._limit, self._activity = 0.0, 0.0, ""

    def alive(self, doing: str, usual: float | None = None) -> None:
        """Restarts the time limit, since the previous activity has ended and the next one begins.

        Args:
            doing: name of the next activity, for the record.
            usual: seconds that it usually takes; None if unknown, which raises the limit tenfold.
        """
        seconds = self._seconds or 0.0
        limit = _UNTIMED_FACTOR * seconds if usual is None else max(seconds, _SLOW_FACTOR * usual)
        self._idle, self._limit, self._activity = 0.0, limit, doing

    def __enter__(self) -> "Watchdog":
        self.alive("start")
        if self._seconds is not None:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()

    def _watch(self) -> None:
        assert self._seconds is not None
        tick = min(1.0, self._seconds / 10)
        before = time.monotonic()
        while not self._closed.wait(tick):
            now = time.monotonic()
            self._idle += min(now - before, 2 * tick)
            before = now
            if self._idle > self._limit:
                self._end()

    def _end(self) -> None:
        deadline = threading.Timer(_RECORD_SECONDS, os._exit, (STUCK,))
        deadline.daemon = True
        deadline.start()
        reason = f"stuck: nothing ended in {self._limit:.0f} s ({self._activity})"
        try:
            self._record(reason, _stacks())
        finally:
            last_words(f"{reason}; the same command tries again")
            os._exit(STUCK)


def _stacks() -> str:
    """The stack of every thread, as text."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"Thread {names.get(number, number)}:\n{''.join(traceback.format_stack(frame))}"
        for number, frame in sys._current_frames().items()
    )
