"""Takes values out of JSON that anyone may have written: the right type, or nothing."""

import math
from typing import Any

from xception_jax.errors import printable


def as_text(value: object) -> str:
    """One printable line: no control characters, no lone surrogates, which XML and CSV refuse."""
    words = " ".join(str(value).split()) if value is not None else ""
    return printable(words)


def as_real(value: object) -> float | None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def as_whole(value: object) -> int | None:
    """A whole number of 64 bits, also when written as 3.0."""
    number = as_real(value)
    if number is None or not number.is_integer() or abs(number) >= 2**63:
        return None
    return int(number)


def first_known(*values: object) -> object:
    """The first value that is not None."""
    return next((value for value in values if value is not None), None)


def as_list(value: object) -> list[Any]:
    """The list, or an empty one."""
    return value if isinstance(value, list) else []


def as_mapping(value: object) -> dict[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}
