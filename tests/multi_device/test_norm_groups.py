"""Batch normalization over groups of rows: the same on any devices, in parts or at once."""

from typing import Any

import pytest

from tests.multi_device.small_model import Trained, distance, train

SAME: list[dict[str, Any]] = [
    {"devices": 2, "group_size": 8, "parts": 1},
    {"devices": 4, "group_size": 8, "parts": 4},
    {"devices": 8, "group_size": 8, "parts": 4, "slots": 2},
    *({"devices": devices, "group_size": 8, "parts": 1} for devices in (4, 8)),
    *({"devices": devices, "group_size": 8, "parts": 4} for devices in (1, 2, 8)),
]
OTHER: list[dict[str, Any]] = [
    {"devices": 1, "group_size": None, "parts": 1},
    {"devices": 1, "group_size": None, "parts": 4},  # moving statistics: four times
]


@pytest.fixture(scope="module")
def reference() -> Trained:
    return train(devices=1, group_size=8, parts=1)


@pytest.mark.parametrize(
    "case", [*SAME[:3], *(pytest.param(case, marks=pytest.mark.slow) for case in SAME[3:])], ids=str
)
def test_groups_give_the_same_on_any_devices_and_in_any_parts(
    case: dict[str, Any], reference: Trained
) -> None:
    """Three steps of float32 sums in another order, 6e-8 each; measured were 2.1e-7 at most."""
    assert distance(reference.state, train(**case).state) < 3e-6


@pytest.mark.parametrize("case", OTHER, ids=str)
def test_another_group_gives_something_else(case: dict[str, Any], reference: Trained) -> None:
    assert distance(reference.state, train(**case).state) > 1e-3
