"""Fixtures of the tracking tests: rows to log."""

from collections.abc import Callable
from typing import Any

import pytest

Rows = list[dict[str, Any]]


def make_rows(first: int = 1, last: int = 20) -> Rows:
    """Returns a training row every step and a validation row every fifth, as a training loop logs.

    A validation row comes before the training row of its step, because a loop reads training
    metrics one step late.
    """
    rows: Rows = []
    for step in range(first, last + 1):
        numbers = {"loss": 2 / 3**step, "top1": 1 - 0.9**step, "top5": 1 - 0.7**step}
        if step % 5 == 0:
            rows.append({"step": step, "epoch": step / 7, "split": "valid", **numbers})
        rows.append({"step": step, "epoch": step / 7, "split": "train", **numbers})
    return rows


@pytest.fixture(name="make_rows")
def _make_rows() -> Callable[..., Rows]:
    return make_rows
