"""Batch normalization and the max-pooling after it, as one operation.

A channel's normalization rises or falls with its input all over. Hence the maximum can be taken
first, of the channel or of its negative, and only what is left of it normalized: on a TPU a program
then writes and reads the large image fewer times, forward and backward.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from xception_jax.ops.column_sums import Channels, plain_sums
from xception_jax.ops.dispatch import choose_implementation
from xception_jax.ops.normalization import (
    Axis,
    Batch,
    Pooled,
    Reduction,
    batch_norm,
    gradient_terms,
    moments,
    normalize_groups,
)
from xception_jax.ops.pooling import max_pool
from xception_jax.ops.shapes import (
    AnyImages,
    Images,
    Outputs,
    Padding,
    require_images,
)

Saved = tuple[Images, Outputs, Channels, Channels, Channels]


class _Settings(NamedTuple):
    """The static arguments: the number added to the variance, how to average, and the pool."""

    epsilon: float
    over: Reduction
    pool: Callable[[Images], Outputs]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _pool_first(x: Images, scale: Channels, bias: Channels, settings: _Settings) -> Pooled:
    return _forward(x, scale, bias, settings)[0]


def _forward(
    x: Images, scale: Channels, bias: Channels, settings: _Settings
) -> tuple[Pooled, Saved]:
    sign = jnp.where(scale < 0, -1, 1)
    rising = x * sign.astype(x.dtype)  # exact, and computed where x is: x itself is not kept
    mean, variance = moments(rising, settings.over)
    pooled = settings.pool(rising)
    factor = jnp.abs(scale) * lax.rsqrt(variance + settings.epsilon)
    normalized = pooled.astype(scale.dtype) * factor + (bias - mean * factor)
    saved = rising, pooled, scale, mean, variance
    return (normalized.astype(x.dtype), mean * sign, variance), saved


def _backward(
    settings: _Settings, saved: Saved, gradients: Pooled
) -> tuple[Images, Channels, Channels]:
    """Sums over the maxima alone: no other number of a window has a gradient of its own.

    The returned statistics have no gradient: see `batch_norm_max_pool`.
    """
    rising, pooled, scale, mean, variance = saved
    wide, sign = mean.dtype, jnp.where(scale < 0, -1, 1)
    rows, out_gradient = (
        jnp.reshape(a, (-1, a.shape[-1])).astype(wide) for a in (pooled, gradients[0])
    )
    (scale_gradient, bias_gradient), (factor, slope, shift) = gradient_terms(
        out_gradient,
        rows,
        settings.over,
        mean=mean,
        inverse=lax.rsqrt(variance + settings.epsilon),
        scale=jnp.abs(scale),
        count=float(rising.size // rising.shape[-1]),
    )
    scattered = jax.vjp(settings.pool, rising)[1](gradients[0])[0].astype(wide)
    x_gradient = (scattered * factor - rising.astype(wide) * slope + shift) * sign
    return x_gradient.astype(rising.dtype), scale_gradient * sign, bias_gradient


_pool_first.defvjp(_forward, _backward)

NORM_POOL_IMPLEMENTATIONS = ("lax", "pool_first")


def batch_norm_max_pool(
    x: AnyImages,
    scale: Channels,
    bias: Channels,
    *,
    epsilon: float,
    axis_name: str | None = None,
    group_size: int | None = None,
    window: int = 3,
    strides: int = 2,
    padding: Padding = "SAME",
    implementation: str = "auto",
) -> Pooled:
    """Normalizes a batch as `batch_norm` does, and takes the maximum over windows of the result.

    Args:
        x: [batch, height, width, channels].
        scale: [channels].
        bias: [channels].
        epsilon: number added to the variance.
        axis_name: mesh axis over which the batch is split; None if it is all on this device.
        group_size: number of rows per group; None: the whole batch is one group.
        window: side of the window, pixels.
        strides: stride of the windows in both spatial dimensions.
        padding: "SAME" (as in TensorFlow) or "VALID".
        implementation: "lax" normalizes first; "pool_first" gives the same values bit for bit, but
            where numbers of one window are equal only after normalization, the gradient goes to the
            largest and not to the first of them. "auto": see `dispatch`.

    Returns:
        The maxima [batch, new_height, new_width, channels] with the dtype of `x`, and the mean and
        biased variance of all of `x`, as from `batch_norm`.

    Raises:
        InputError: `implementation` or `padding` is unknown.
        ValueError: `x` or `group_size` is invalid, see `batch_norm`, or a "VALID" window does not
            fit into the image.
    """
    x = require_images("x", x)
    pool = partial(max_pool, window=window, strides=strides, padding=padding)
    chosen = choose_implementation("norm_pool", implementation, NORM_POOL_IMPLEMENTATIONS)
    if chosen == "lax":
        normalized, mean, variance = batch_norm(
            x, scale, bias, epsilon=epsilon, axis_name=axis_name, group_size=group_size
        )
        return pool(normalized), mean, variance

    def normalize(x: Batch, scale: Channels, bias: Channels, epsilon: float, axis: Axis) -> Pooled:
        settings = _Settings(epsilon, Reduction(axis, plain_sums), pool)
        return _pool_first(x, scale, bias, settings)

    return normalize_groups(
        normalize, x, scale, bias, epsilon=epsilon, axis_name=axis_name, size=group_size
    )
