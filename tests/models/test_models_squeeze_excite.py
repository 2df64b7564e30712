"""Squeeze-and-excitation between the operations of a block, against NumPy in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from xception_jax.config import resolve, run_id, shared_settings
from xception_jax.models import SeparableConv, count, model_function
from xception_jax.models.blocks import SqueezeExcite
from xception_jax.planning.budget import arm_cost


@pytest.mark.parametrize(("order", "channels"), [("depthwise_first", 8), ("pointwise_first", 12)])
def test_it_scales_the_channels_between_the_two_operations(order, channels, rng):
    block = SeparableConv(
        8, 12, order=order, intermediate_activation="relu", squeeze_excite_ratio=4
    )
    plain = SeparableConv(8, 12, order=order, intermediate_activation="relu")
    for name in ("spatial_kernel", "pointwise_kernel"):
        value = rng.normal(size=getattr(block, name).shape)
        for one in (block, plain):
            getattr(one, name)[...] = jnp.asarray(value, jnp.float32)
    layers = block.squeeze_excite.reduce, block.squeeze_excite.expand
    for layer in layers:
        layer.kernel[...] = jnp.asarray(rng.normal(size=layer.kernel.shape), jnp.float32)
        layer.bias[...] = jnp.asarray(rng.normal(size=layer.bias.shape), jnp.float32)
    assert layers[0].kernel.shape == (channels, channels // 4)
    x = jnp.asarray(rng.normal(size=(2, 5, 6, 8)), jnp.float32)

    between = np.asarray(_before_second(plain, x), np.float64)
    reduce, expand = (
        (np.asarray(layer.kernel[...], np.float64), np.asarray(layer.bias[...], np.float64))
        for layer in layers
    )
    hidden = np.maximum(between.mean(axis=(1, 2)) @ reduce[0] + reduce[1], 0)
    scales = 1 / (1 + np.exp(-(hidden @ expand[0] + expand[1])))
    scaled = jnp.asarray(between * scales[:, None, None, :], jnp.float32)
    expected = _second(plain, scaled)
    # Sums of up to 108 products of numbers of size 10 in float32.
    np.testing.assert_allclose(block(x), expected, rtol=1e-4, atol=1e-4)


def _before_second(block, x):
    first = block._spatial if block.config.order == "depthwise_first" else block._pointwise
    return block._activate(first(x))


def _second(block, x):
    second = block._pointwise if block.config.order == "depthwise_first" else block._spatial
    return second(x)


def test_it_is_a_part_of_the_plan_the_id_and_the_pack():
    base = {"model.name": "xception_tiny"}
    plain, with_it = resolve(base), resolve(base, overrides=["model.squeeze_excite_ratio=4"])
    assert run_id(plain) != run_id(with_it)
    assert shared_settings(plain) != shared_settings(with_it)
    costs = [arm_cost(config, ["model.squeeze_excite_ratio"]) for config in (plain, with_it)]
    function = model_function("xception_tiny", num_classes=10, in_channels=1)
    rows = count(model_function("xception_tiny", squeeze_excite_ratio=4, num_classes=10,
                                in_channels=1), (28, 28, 1))  # fmt: skip
    added = sum(row.parameters for row in rows if row.kind == SqueezeExcite.__name__)
    assert added > 0
    assert costs[1].parameters - costs[0].parameters == added
    assert costs[0].parameters == sum(np.prod(leaf.shape) for leaf in function.parameters)
    assert costs[0].unused == costs[1].unused == ()
    alexnet = resolve({"model.name": "alexnet_tiny", "model.squeeze_excite_ratio": 4})
    named = "model.squeeze_excite_ratio"
    assert arm_cost(alexnet, [named]).unused == (named,)
