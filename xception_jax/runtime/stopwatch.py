"""The pace of training steps, measured from one finished step to the next."""

import time
from collections import deque
from statistics import median

# A step is slow at twenty times the median of the last hundred, once there are ten.
_SLOW_FACTOR, _WINDOW, _FEWEST = 20, 100, 10


class Stopwatch:
    """Images and seconds of this process's training steps.

    Compilation, evaluation and checkpoints are left out, and so are the first steps after each,
    which only fill the queue of the devices.

    Attributes:
        slow: number of steps that took 20 times the median of those before them, and at least a
            second: any machine's other work delays small steps by less.
    """

    def __init__(self) -> None:
        self._seconds, self._images = 0.0, 0
        self._last_end: float | None = None
        self._recent = deque[float](maxlen=_WINDOW)
        self.slow = 0

    def pause(self) -> None:
        """Leaves out the time until the next finished step, and that step's images."""
        self._last_end = None

    def finished(self, images: int, steps: int) -> float | None:
        """Notes that steps have just ended; returns the seconds of each if they were slow.

        Args:
            images: number of images of all the steps together.
            steps: number of steps.
        """
        now, before = time.perf_counter(), self._last_end
        self._last_end = now
        if before is None:
            return None
        self._seconds += now - before
        self._images += images
        usual, seconds = self.usual(), (now - before) / steps
        self._recent.append(seconds)
        if usual is None or seconds < max(_SLOW_FACTOR * usual, 1.0):
            return None
        self.slow += 1
        return seconds

    def usual(self) -> float | None:
        """The median seconds of a step; None before there are enough to tell."""
        return median(self._recent) if len(self._recent) >= _FEWEST else None

    def images_per_second(self) -> float | None:
        """The mean rate so far; None before a second call of the devices has ended."""
        return self._images / self._seconds if self._seconds else None
