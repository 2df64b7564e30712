"""Makes Python's clock wrong by WRONG_CLOCK seconds, where libfaketime is not installed.

Python imports this file at its start if its folder is in PYTHONPATH. Clocks that only measure
intervals, and those of libraries in C++, stay right.
"""

import datetime
import os
import time
from collections.abc import Callable
from typing import Any

OFFSET = int(os.environ["WRONG_CLOCK"])

right_time, right_time_ns = time.time, time.time_ns
right_datetime = datetime.datetime


class WrongDatetime(right_datetime):
    """A `datetime` whose `now` is wrong."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "WrongDatetime":
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> "WrongDatetime":
        return cls.now(datetime.UTC).replace(tzinfo=None)


def of_now(convert: Callable[..., Any]) -> Callable[[float | None], Any]:
    return lambda seconds=None: convert(time.time() if seconds is None else seconds)


def strftime(form: str, at: Any = None) -> str:
    return right_strftime(form, time.localtime() if at is None else at)


right_strftime = time.strftime
time.time = lambda: right_time() + OFFSET
time.time_ns = lambda: right_time_ns() + OFFSET * 10**9
time.gmtime, time.localtime = of_now(time.gmtime), of_now(time.localtime)
time.strftime = strftime
datetime.datetime = WrongDatetime  # type: ignore[misc]
