"""Makes Python's clock wrong by WRONG_CLOCK seconds, where libfaketime is not installed.

Python imports this file at its start if its folder is in PYTHONPATH. Clocks that only measure
intervals, and those of libraries in C++, stay right.
"""

import datetime
import os
import time
from collections.abc import Callable
from typing import Any, Self

OFFSET = int(os.environ["WRONG_CLOCK"])

right_time, right_time_ns, right_strftime = time.time, time.time_ns, time.strftime


class WrongDatetime(datetime.datetime):
    """A `datetime` whose `now` is wrong."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Self:
        return cls.now(datetime.UTC).replace(tzinfo=None)


def of_now(convert: Callable[[float], Any]) -> Callable[..., Any]:
    return lambda seconds=None: convert(time.time() if seconds is None else seconds)


def strftime(form: str, at: Any = None) -> str:
    return right_strftime(form, time.localtime() if at is None else at)


vars(time).update(
    time=lambda: right_time() + OFFSET,
    time_ns=lambda: right_time_ns() + OFFSET * 10**9,
    gmtime=of_now(time.gmtime),
    localtime=of_now(time.localtime),
    strftime=strftime,
)
vars(datetime).update(datetime=WrongDatetime)
