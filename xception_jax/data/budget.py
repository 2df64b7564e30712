"""A budget of memory that threads share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """An amount of which each thread takes a part while it works, and waits until there is enough.

    Args:
        total: the amount.
    """

    def __init__(self, total: int) -> None:
        self._total = self._left = total
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, amount: int) -> Iterator[None]:
        """Takes an amount for the duration of the block; of more than there is, all.

        A block must not take a second time: two threads could wait for each other.
        """
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._changed:
                self._left += amount
                self._changed.notify_all()
