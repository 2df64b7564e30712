"""Activations by name, and the selection of one among several at run time.

Runs that differ in nothing else can then train in one compiled program. Under `vmap` every run of a
pack computes all alternatives and keeps its own.
"""

from collections.abc import Callable, Mapping
from functools import partial, reduce

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from xception_jax.errors import InputError, nearest_name

Elementwise = Callable[[Array], Array]

# The activations that act on each number alone: glu halves the channels, softmax mixes them.
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    **{
        name: getattr(jax.nn, name)
        for name in (
            "celu", "elu", "gelu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
            "identity", "leaky_relu", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid",
            "silu", "soft_sign", "softplus", "sparse_plus", "sparse_sigmoid", "squareplus",
            "swish", "tanh",
        )
        if hasattr(jax.nn, name)
    },
}  # fmt: skip


def require_activation(field: str, name: str) -> None:
    """Raises `InputError` unless `name` is "none" or an activation of `jax.nn`."""
    if name not in ACTIVATIONS:
        near = nearest_name(name, ACTIVATIONS)
        raise InputError(field, name, f"must be one of {', '.join(ACTIVATIONS)}", near)


class ActivationIndex(nnx.Variable):
    """The index of the activation that a module applies, int32 []; given at run time."""


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def select_activation(
    functions: tuple[Elementwise, ...], index: Int[Array, ""], x: Float[Array, "..."]
) -> Float[Array, "..."]:
    """`functions[index](x)`, with exactly the derivatives of that function, of any order.

    The derivative is selected as the value is. The derivative of a plain select would multiply the
    slopes of the other functions by zero, and a slope that overflows would make it NaN.

    Args:
        functions: functions that act on each number alone.
        index: index of one of them.
        x: array of any shape.
    """
    values = [function(x) for function in functions]
    numbered = enumerate(values[1:], start=1)
    return reduce(
        lambda selected, item: jnp.where(index == item[0], item[1], selected), numbered, values[0]
    )


@select_activation.defjvp
def _select_activation_jvp(
    functions: tuple[Elementwise, ...],
    primals: tuple[Array, Array],
    tangents: tuple[Array, Array],
) -> tuple[Array, Array]:
    index, x = primals
    slopes = tuple(partial(_slope, function) for function in functions)
    return select_activation(functions, index, x), select_activation(slopes, index, x) * tangents[1]


def _slope(function: Elementwise, x: Array) -> Array:
    return jax.jvp(function, (x,), (jnp.ones_like(x),))[1]
