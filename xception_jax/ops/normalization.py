"""Batch-normalization statistics, over one device or all that share a batch."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Channels = Float[Array, " channels"]


def batch_statistics(
    x: Float[Array, "batch *spatial channels"], axis_name: str | None = None
) -> tuple[Channels, Channels]:
    """Mean and (biased, as in Keras) variance per channel, in float32 at least.

    In one pass, as mean(x^2) - mean(x)^2: where a channel's mean is far larger than its deviation,
    the variance loses digits (relative error about mean^2 / variance times float32's 6e-8).

    Args:
        x: [batch, ..., channels].
        axis_name: mesh axis over which the batch is split; None: it is all here.

    Returns:
        mean and variance, [channels] each.

    Raises:
        ValueError: `x` without a batch and a channel dimension, or without an element to average.
    """
    x = jnp.asarray(x)
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"x must be [batch, ..., channels], not empty; got shape {x.shape}")
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    rows = jnp.reshape(wide, (-1, x.shape[-1]))
    mean, square = jnp.mean(rows, axis=0), jnp.mean(rows * rows, axis=0)
    if axis_name is not None:
        mean, square = lax.pmean((mean, square), axis_name)
    # Rounding can leave a tiny negative number where the variance is zero.
    return mean, jnp.maximum(square - mean * mean, 0)
