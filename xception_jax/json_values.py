"""Takes values out of JSON that anyone may have written: the right type, or nothing."""

import json
from collections.abc import Iterable
from typing import Any

from xception_jax.errors import printable

_DEEPEST = 64  # of a list in a list


def parse_json(content: bytes | str) -> Any:
    """Parses JSON that anyone may have written.

    Raises:
        ValueError: it is none, or so deep that Python could neither show it nor write it again.
    """
    try:
        parsed = json.loads(content)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    level = [parsed]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _items(outer)]
        if not level:
            return parsed
    raise ValueError(f"it is nested more than {_DEEPEST} deep")


def _items(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def as_text(value: object) -> str:
    """The value as one printable line, empty for None.

    It holds no control characters and no lone surrogates, which XML and CSV refuse.
    """
    words = " ".join(str(value).split()) if value is not None else ""
    return printable(words)


def as_real(value: object) -> float | None:
    """The value as a float; None unless it lies between -1e40 and 1e40: squares are finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e40 else None


def as_whole(value: object) -> int | None:
    """The value as an int, also where it is written as 3.0; None unless a whole one of 64 bits."""
    number = as_real(value)
    if number is None or not number.is_integer():
        return None
    whole = value if isinstance(value, int) else int(number)  # not every int is a float
    return whole if abs(whole) < 2**63 else None


def first_known(*values: object) -> object:
    """The first value that is not None."""
    return next((value for value in values if value is not None), None)


def as_list(value: object) -> list[Any]:
    """The value if it is a list, else an empty list."""
    return value if isinstance(value, list) else []


def as_mapping(value: object) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}
