"""Ends a process in which nothing moves any more: a hung device, a collective, a file system.

Such a process would hold its machine, and its run, until someone looks. Ended, with its exit code
70 and the run recorded as failed, it is tried again from its last checkpoint.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType

from xception_jax.errors import STUCK

Record = Callable[[str, str], None]

_UNUSUAL = 10  # times the patience: compiling, evaluating, saving, and the first steps
_SLOW = 20  # times what is usual
_LAST_WORDS = 30.0  # seconds for the record, which may hang like everything else


class Watchdog:
    """Within it (`with`), `alive` has to be called now and then, or the process ends.

    A thread that waits in the system or in XLA is seen; one that never lets go of Python's lock is
    not. Time in which this thread itself did not run, the process stopped or the machine suspended,
    does not count, nor does the clock.

    Args:
        seconds: of patience; None: without end.
        record: called with the reason and every thread's stack, from another thread, just before
            the process ends.
    """

    def __init__(self, seconds: float | None, record: Record) -> None:
        self._seconds, self._record = seconds, record
        self._over = threading.Event()
        self._idle, self._limit, self._doing = 0.0, 0.0, ""

    def alive(self, doing: str, usual: float | None = None) -> None:
        """Something has ended, and the next thing begins.

        Args:
            doing: what, for the record.
            usual: seconds it usually takes; None: nobody knows, so it has ten times the patience.
        """
        seconds = self._seconds or 0.0
        limit = _UNUSUAL * seconds if usual is None else max(seconds, _SLOW * usual)
        self._idle, self._limit, self._doing = 0.0, limit, doing

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
        self._over.set()

    def _watch(self) -> None:
        assert self._seconds is not None
        tick = min(1.0, self._seconds / 10)
        before = time.monotonic()
        while not self._over.wait(tick):
            now = time.monotonic()
            self._idle += min(now - before, 2 * tick)
            before = now
            if self._idle > self._limit:
                self._end()

    def _end(self) -> None:
        late = threading.Timer(_LAST_WORDS, os._exit, (STUCK,))
        late.daemon = True
        late.start()
        reason = f"stuck: nothing ended in {self._limit:.0f} s ({self._doing})"
        try:
            self._record(reason, _stacks())
        finally:
            os.write(2, f"{reason}; the same command tries again\n".encode())
            os._exit(STUCK)


def _stacks() -> str:
    """Where every thread is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"Thread {names.get(number, number)}:\n{''.join(traceback.format_stack(frame))}"
        for number, frame in sys._current_frames().items()
    )
