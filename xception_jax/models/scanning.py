"""Equal modules, one after another, as a loop over one of them: only that one is compiled."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float


def scan_modules(
    modules: Sequence[Any], x: Float[Array, "b h w c"], train: bool
) -> Float[Array, "b h w c"]:
    """`x` through all `modules`, as calling each would; their statistics are tracked as well.

    Their values are stacked here, for the loop only: parameters keep their paths and shapes.

    Args:
        modules: built alike; each returns an image of the shape and type it is given.
        x: the first one's input.
        train: see `Network`.
    """
    graph = nnx.graphdef(modules[0])

    def call(
        x: Float[Array, "b h w c"], values: nnx.State
    ) -> tuple[Float[Array, "b h w c"], nnx.State]:
        module: Any = nnx.merge(graph, values)
        return module(x, train), nnx.state(module, nnx.BatchStat)

    stacked = jax.tree.map(lambda *each: jnp.stack(each), *map(nnx.state, modules))
    x, statistics = lax.scan(call, x, stacked)
    for index, module in enumerate(modules):
        nnx.update(module, jax.tree.map(lambda value, i=index: value[i], statistics))
    return x
