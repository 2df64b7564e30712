"""Runs that are asked to stop, as by a signal, without one."""

from collections.abc import Callable


def stop_after(count: int) -> Callable[[], bool]:
    """The `stop` of a run that is asked to stop after so many steps."""
    asked = iter(range(count))
    return lambda: next(asked, None) is None
