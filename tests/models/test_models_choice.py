"""An activation picked at run time is that activation: values and derivatives, also under vmap."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xception_jax.config import BlockConfig
from xception_jax.models.activations import ACTIVATIONS, select_activation
from xception_jax.models.blocks import SeparableConv
from xception_jax.models.functional import functionalize

NAMES = tuple(ACTIVATIONS)
FUNCTIONS = tuple(ACTIVATIONS.values())


def derivative(function):
    return jax.grad(lambda x: jnp.sum(function(x)))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_every_member_gets_its_own_activation_and_its_derivatives(order, rng):
    """Where others overflow too: a number times zero is not a number where it is infinite."""
    x = jnp.asarray(np.concatenate([rng.normal(size=50), [0.0, 1e4, -1e4, 1e20, -1e20]]), "float32")

    def nth(function):
        for _ in range(order):
            function = derivative(function)
        return function

    picked = jax.jit(jax.vmap(lambda index: nth(partial(select_activation, FUNCTIONS, index))(x)))
    found = picked(jnp.arange(len(NAMES)))
    for name, function, values in zip(NAMES, FUNCTIONS, found, strict=True):
        expected = jax.jit(nth(function))(x)
        # The same operations, fused otherwise: a few roundings of 6e-8, and in second derivatives,
        # sums of a dozen terms of either sign up to 2 in size, of those terms.
        atol = 5e-6 if order == 2 else 1e-6
        np.testing.assert_allclose(values, expected, rtol=2e-6, atol=atol, err_msg=name)


@pytest.mark.parametrize("order", ["depthwise_first", "pointwise_first"])
def test_a_block_with_several_is_each_of_the_blocks_with_one(order, rng):
    names = ("none", "relu", "elu")
    x = jnp.asarray(rng.normal(size=(2, 5, 5, 3)), "float32")
    block = partial(SeparableConv, 3, 4)
    several, parameters, _ = functionalize(
        block(config=BlockConfig(order=order, activation_choices=names))
    )

    def loss(function, parameters, x, index=None):
        outputs, _ = function.apply(parameters, {}, x, train=True, activation_index=index)
        return jnp.sum(jnp.sin(outputs))

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(1, 2)), static_argnums=0)
    for index, name in enumerate(names):
        one, *_ = functionalize(block(order=order, intermediate_activation=name))
        assert one.parameters == several.parameters
        expected = gradient(one, parameters, x)
        found = gradient(several, parameters, x, jnp.int32(index))
        # One computation in two programs: sums of up to 200 terms, each rounded by 6e-8.
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), found, expected)


def test_where_nothing_is_said_it_is_the_first():
    x = jnp.linspace(-1, 1, 12).reshape(1, 2, 2, 3)
    several = SeparableConv(3, 4, config=BlockConfig(activation_choices=("elu", "relu")))
    one = SeparableConv(3, 4, intermediate_activation="elu")
    # The same operations, fused otherwise: a few roundings of 6e-8.
    np.testing.assert_allclose(several(x), one(x), rtol=1e-6, atol=1e-7)
