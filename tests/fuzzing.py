"""Random input for the tests of parsers; FUZZ_EXAMPLES is the number of examples of each test."""

import contextlib
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

fuzzed = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Damage = list[tuple[int, bytes]]

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["train", "valid", "NaN", 10**400, -1, 1.0])
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
"""Any value that a JSON document can hold."""
ANYTHING: tuple[Any, ...] = (
    None,
    "fast",
    "zzz",
    5,
    -1,
    2.5,
    True,
    [],
    [[1]],
    {},
    {"a": {"b": 1}},
    1e400,
    "x" * 5000,
)
"""Values that most fields of a record do not have."""


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Places in the file, most of them in a header at its start or end, and what is put there."""
    place = st.integers(0, 2048) | st.integers(-512, -1) | st.integers(0, 2**20)
    count = draw(st.integers(1, 8))
    return [(draw(place), draw(st.binary(min_size=1, max_size=8))) for _ in range(count)]


def damage(content: bytes, changes: Damage, cut: int | None) -> bytes:
    """The content with changes; `cut` is the number of bytes that are missing at its end."""
    damaged = bytearray(content)
    for place, new in changes:
        start = place % len(content)
        damaged[start : start + len(new)] = new
    return bytes(damaged if not cut else damaged[:-cut])


def paths(content: object, prefix: tuple = ()) -> list[tuple]:
    """Every place in a JSON document that can hold something else."""
    found = []
    if isinstance(content, (dict, list)):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            found += [(*prefix, key), *paths(value, (*prefix, key))]
    return found


def put(content: Any, path: tuple, value: object) -> None:
    """Puts a value somewhere in a document, if that place is still there."""
    *above, last = path
    with contextlib.suppress(KeyError, IndexError, TypeError):  # another change took its place
        for key in above:
            content = content[key]
        content[last] = value
