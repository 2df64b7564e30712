"""The certificate: Keras's Xception and ours, with the same weights, compute the same."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from tests.models import keras_xception as carried
from tests.models.keras_pair import (
    Pair,
    assert_same_gradients,
    assert_same_logits,
    assert_same_modules,
    keras_in_float64,
    make_pair,
)
from xception_jax.models import SeparableConv


@pytest.fixture(scope="module")
def pair(module_seed) -> Pair:
    with keras_in_float64():
        return make_pair(carried, 71, "float64", module_seed)


@pytest.fixture
def exact(pair) -> Iterator[Pair]:
    """The pair, for a test that computes in float64."""
    with keras_in_float64():
        yield pair


def test_both_have_the_parameters_of_the_papers_table_3(exact):
    assert sum(np.size(value) for value in exact.parameters.values()) == 22_855_952
    assert exact.keras.count_params() == 22_910_480
    assert sum(np.size(v) for v in (exact.parameters | exact.batch_stats).values()) == 22_910_480


# tests/pretrained/test_pretrained_keras.py compares logits at 71 pixels, and is not slow.
@pytest.mark.slow
@pytest.mark.parametrize("size", [96, 299])
def test_logits_agree(size, module_seed):
    assert_same_logits(make_pair(carried, size, "float32", module_seed))


def test_every_module_agrees(exact):
    """Reports the first module that differs, by name."""
    adds = [layer.name for layer in exact.keras.layers if layer.name.startswith("add")]
    ends = ["block1_conv2_act", *adds, "block14_sepconv2_act"]
    outputs = [exact.keras.get_layer(name).output for name in ends]
    names = ["stem", *(f"entry {i}" for i in range(3)), *(f"middle {i}" for i in range(8))]

    def ours(model, x):
        for conv, norm in zip(model.stem, model.stem_norms, strict=True):
            x = jax.nn.relu(norm(conv(x), False))
        seen = [x]
        for module in (*model.entry, *model.middle, *model.exit):
            seen.append(module(seen[-1], False))
        return seen

    assert_same_modules(exact, [*names, "exit 0", "exit 1"], outputs, ours)


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True])
def test_the_gradient_of_every_weight_and_the_moving_statistics_agree(exact, train):
    assert_same_gradients(exact, train)


def test_separable_conv_is_that_of_keras(rng):
    ours = SeparableConv(5, 7)
    theirs = keras.layers.SeparableConv2D(7, 3, padding="same", use_bias=False)
    x = rng.normal(size=(2, 8, 9, 5)).astype(np.float32)
    theirs.build(x.shape)
    depthwise, pointwise = rng.normal(size=(3, 3, 5, 1)), rng.normal(size=(1, 1, 5, 7))
    theirs.set_weights([depthwise, pointwise])
    ours.spatial_kernel[...] = jnp.asarray(depthwise.transpose(0, 1, 3, 2), jnp.float32)
    ours.pointwise_kernel[...] = jnp.asarray(pointwise, jnp.float32)
    # 45 products, of size 10 at most, at 6e-8.
    np.testing.assert_allclose(ours(x), theirs(x), rtol=0, atol=5e-5)
