"""Rematerialization: activations that are computed again in the backward pass, not stored."""

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

Image = Float[Array, "b h w c"]
Output = Float[Array, "b h2 w2 f"]


def rematerialized(module: Any, x: Image, train: bool) -> Output:
    """The result of `module(x, train)`, of which only `x` is stored for the backward pass.

    The module's activations are computed again there: less memory for more time (Chen et al. 2016).
    """
    graph = nnx.graphdef(module)

    def call(x: Image, values: nnx.State) -> tuple[Output, nnx.State]:
        merged: Any = nnx.merge(graph, values)
        return merged(x, train), nnx.state(merged, nnx.BatchStat)

    output, batch_stats = jax.checkpoint(call)(x, nnx.state(module))
    nnx.update(module, batch_stats)
    return output
