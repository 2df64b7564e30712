"""The certificate: Keras's Inception V3 and ours, with the same weights, compute the same."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.models import keras_inception as carried
from tests.models.keras_pair import (
    Pair,
    assert_same_gradients,
    assert_same_logits,
    assert_same_modules,
    keras_in_float64,
    make_pair,
)


@pytest.fixture(scope="module")
def pair(module_seed) -> Pair:
    with keras_in_float64():
        return make_pair(carried, 75, "float64", module_seed)  # the smallest size


@pytest.fixture
def exact(pair) -> Iterator[Pair]:
    """The pair, for a test that computes in float64."""
    with keras_in_float64():
        yield pair


@pytest.mark.slow
def test_both_have_as_many_parameters(exact):
    """The paper's table 3 says 23,626,728: of another version of Inception V3."""
    assert sum(np.size(value) for value in exact.parameters.values()) == 23_817_352
    assert sum(np.size(v) for v in exact.keras.trainable_variables) == 23_817_352
    assert exact.keras.count_params() == 23_851_784
    assert sum(np.size(v) for v in (exact.parameters | exact.batch_stats).values()) == 23_851_784


@pytest.mark.slow
@pytest.mark.parametrize("size", [96, 299])
def test_logits_agree(size, module_seed):
    assert_same_logits(make_pair(carried, size, "float32", module_seed))


@pytest.mark.slow
def test_every_module_agrees(exact):
    """Reports the first module that differs, by name."""
    stem = carried.numbered(exact.keras, "max_pooling2d")[1]
    mixed = [exact.keras.get_layer(f"mixed{i}") for i in range(11)]
    outputs = [layer.output for layer in (stem, *mixed)]

    def ours(model, x):
        for unit in model.stem:
            x = unit(x, False)
        seen = [x]
        for module in model.modules:
            seen.append(module(seen[-1], False))
        return seen

    assert_same_modules(exact, ["stem", *(layer.name for layer in mixed)], outputs, ours)


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True])
def test_the_gradient_of_every_weight_and_the_moving_statistics_agree(exact, train):
    assert_same_gradients(exact, train)
