"""Ways to go through modules: as a loop over one of them, and computed again for the gradient."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

Image = Float[Array, "b h w c"]


def scan_modules(modules: Sequence[Any], x: Image, train: bool, *, rematerialize: bool) -> Image:
    """`x` through all `modules`, as calling each would; their statistics are tracked as well.

    Only one of them is compiled. Their values are stacked here, for the loop only: parameters keep
    their paths and shapes.

    Args:
        modules: built alike; each returns an image of the shape and type it is given.
        x: the first one's input.
        train: see `Network`.
        rematerialize: see `rematerialized`.
    """
    call = _pure(modules[0], train)
    stacked = jax.tree.map(lambda *each: jnp.stack(each), *map(nnx.state, modules))
    x, batch_stats = lax.scan(jax.checkpoint(call) if rematerialize else call, x, stacked)
    for index, module in enumerate(modules):
        nnx.update(module, jax.tree.map(lambda value, i=index: value[i], batch_stats))
    return x


def rematerialized(module: Any, x: Image, train: bool) -> Image:
    """`module(x, train)`, of which only `x` is kept for the backward pass.

    What is inside is computed again there: less memory for more time (Chen et al. 2016).
    """
    x, batch_stats = jax.checkpoint(_pure(module, train))(x, nnx.state(module))
    nnx.update(module, batch_stats)
    return x


def _pure(module: Any, train: bool) -> Any:
    """The call of a module as a function of (image, values), to (image, new statistics)."""
    graph = nnx.graphdef(module)

    def call(x: Image, values: nnx.State) -> tuple[Image, nnx.State]:
        merged: Any = nnx.merge(graph, values)
        return merged(x, train), nnx.state(merged, nnx.BatchStat)

    return call
