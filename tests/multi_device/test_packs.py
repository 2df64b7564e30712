"""A packed step is that of each run alone, however packs and steps are spread."""

from itertools import product
from typing import Any

import jax
import numpy as np
import pytest

from tests.multi_device.small_pack import ACTIVATIONS, STEPS, Data, distance, make_spec

VARIANTS = list(product(("depthwise_first", "pointwise_first"), ("per_channel", 2, 1)))
# (slots, runs, devices): on eight devices, the seed axis takes four of them or two.
PACKS = [(4, [0, 1, 2], 8), (2, [1, 2], 8), (3, [0, 1, 2], 1)]


@pytest.fixture
def data(rng: np.random.Generator) -> Data:
    return Data(rng)


@pytest.mark.parametrize(
    ("order", "segments", "packs", "checked"),
    [
        # All packs and runs for one variant; for the others one, which is another one in turn.
        pytest.param(*VARIANTS[0], PACKS, [0, 1, 2], marks=pytest.mark.slow),
        pytest.param(*VARIANTS[1], PACKS[:1], [1], marks=pytest.mark.slow),
        pytest.param(*VARIANTS[2], PACKS[:1], [2], marks=pytest.mark.slow),
        pytest.param(*VARIANTS[3], PACKS[:1], [0], marks=pytest.mark.slow),
        (*VARIANTS[4], PACKS, [0, 1, 2]),
        pytest.param(*VARIANTS[5], PACKS[:1], [2], marks=pytest.mark.slow),
    ],
)
def test_a_packed_step_is_that_of_the_run_alone(
    order: str, segments: Any, packs: list[tuple[int, list[int], int]], checked: list[int],
    data: Data,
) -> None:  # fmt: skip
    """Every block variant, with augmentation, dropout, batch normalization and averages.

    The seed axis is split over the devices in the first two packs, the data axis too. After
    four steps, relative to the largest value of each array: float32 rounds to 6e-8, and batch
    normalization of eight tiny images amplifies it.
    """
    block = {"order": order, "segments": segments}
    packed = make_spec(*ACTIVATIONS, **block)
    alone = {}
    for number in checked:
        activation = ACTIVATIONS[number % 3]
        spec = make_spec(activation, **block)
        (alone[number],) = data.train(spec, [number], None, 1, [activation])
    for slots, runs, devices in packs:
        states = data.train(packed, runs, slots, devices, ACTIVATIONS)
        for number, state in zip(runs, states, strict=True):
            if number in alone:
                apart = distance(state, alone[number])
                assert apart < 1e-4, (slots, devices, number, apart)
    first = alone[checked[0]]
    assert int(first.step) == STEPS
    assert distance(packed.init(checked[0]), first) > 0.05


@pytest.mark.parametrize(
    ("slots", "runs"), [pytest.param(None, [1], marks=pytest.mark.slow), (3, [0, 1, 2])]
)
def test_steps_in_one_dispatch_are_those_of_several(
    slots: int | None, runs: list[int], data: Data
) -> None:
    spec = make_spec(*ACTIVATIONS)
    whole, parts, single, again = (
        data.train(spec, runs, slots, 1, ACTIVATIONS, chunks=chunks)
        for chunks in ((4,), (1, 3), (1, 1, 1, 1), (3, 1))
    )
    # The same loop, however its steps are dealt out.
    for one, other in zip(parts, again, strict=True):
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        assert all(np.array_equal(mine, theirs) for mine, theirs in pairs)
    assert all(int(state.step) == STEPS for state in (*whole, *parts, *single))
    assert max(map(distance, whole, parts)) < 1e-5
    assert max(map(distance, whole, single)) < 1e-5
