"""Batch normalization and its statistics, over one device or all that share a batch."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from xception_jax.ops import native
from xception_jax.ops.column_sums import Channels, ColumnSums, native_sums, plain_sums
from xception_jax.ops.dispatch import choose_implementation
from xception_jax.ops.shapes import match_variance, varying_axes

Batch = Float[Array, "batch *spatial channels"]
Normalized = tuple[Batch, Channels, Channels]
# A mesh axis over which a batch is split, or its name and how many devices in a row hold a group.
Axis = str | tuple[str, int] | None


class Reduction(NamedTuple):
    """How a batch is added up: each device its rows by `sums`, then all of `axis`."""

    axis: Axis
    sums: ColumnSums


def batch_statistics(x: Batch, axis_name: Axis = None) -> tuple[Channels, Channels]:
    """Mean and (biased, as in Keras) variance per channel, in float32 at least.

    In one pass, as mean(x^2) - mean(x)^2: where a channel's mean is far larger than its deviation,
    the variance loses digits (relative error about mean^2 / variance times float32's 6e-8).

    Args:
        x: [batch, ..., channels].
        axis_name: mesh axis over which the batch is split, or (axis, devices in a row that hold a
            group); None: it is all here.

    Returns:
        mean and variance, [channels] each.

    Raises:
        ValueError: `x` without a batch and a channel dimension, or without an element to average.
    """
    return _statistics(jnp.asarray(x), Reduction(axis_name, plain_sums))


def _statistics(x: Batch, over: Reduction) -> tuple[Channels, Channels]:
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"x must be [batch, ..., channels], not empty; got shape {x.shape}")
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    rows = jnp.reshape(wide, (-1, x.shape[-1]))
    total, squares = over.sums(rows, rows)
    count = float(rows.shape[0])  # which may be more than an int32 holds
    mean, square = _mean_over((total / count, squares / count), over.axis)
    # Rounding can leave a tiny negative number where the variance is zero.
    return mean, jnp.maximum(square - mean * mean, 0)


def _mean_over(values: tuple[Channels, Channels], axis: Axis) -> tuple[Channels, Channels]:
    groups = None
    if axis is None:
        return values
    if not isinstance(axis, str):
        axis, size = axis
        groups = np.arange(lax.axis_size(axis)).reshape(-1, size).tolist()
    if lax.axis_size(axis) == 1 and not any(axis in varying_axes(v) for v in values):
        return values  # XLA:CPU copies even what comes of one device
    mean: tuple[Channels, Channels] = lax.pmean(values, axis, axis_index_groups=groups)
    return mean


def _normalize(
    x: Batch, scale: Channels, bias: Channels, epsilon: float, over: Reduction
) -> Normalized:
    wide = x.astype(scale.dtype)  # once, or the parts of its gradient are rounded one by one
    mean, variance = _statistics(wide, over)
    factor = scale * lax.rsqrt(variance + epsilon)
    normalized = wide * factor + (bias - mean * factor)
    return normalized.astype(x.dtype), mean, variance


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _by_sums(
    x: Batch, scale: Channels, bias: Channels, epsilon: float, over: Reduction
) -> Normalized:
    return _normalize(x, scale, bias, epsilon, over)


def _forward(
    x: Batch, scale: Channels, bias: Channels, epsilon: float, over: Reduction
) -> tuple[Normalized, tuple[Batch, Channels, Channels, Channels]]:
    # Not by `_by_sums`, whose statistics have no gradient: a second derivative needs theirs.
    normalized, mean, variance = _normalize(x, scale, bias, epsilon, over)
    return (normalized, mean, variance), (x, scale, mean, variance)


def _backward(
    epsilon: float,
    over: Reduction,
    saved: tuple[Batch, Channels, Channels, Channels],
    gradients: Normalized,
) -> tuple[Batch, Channels, Channels]:
    """Two column sums, then one elementwise loop: nothing is computed twice.

    The statistics that are returned have no gradient: see `batch_norm`.
    """
    x, scale, mean, variance = saved
    rows, slopes = (jnp.reshape(a, (-1, a.shape[-1])).astype(mean.dtype) for a in (x, gradients[0]))
    inverse = lax.rsqrt(variance + epsilon)
    total, product = over.sums(slopes, rows)
    along = (product - mean * total) * inverse
    shared_total, shared_along = _mean_over((total, along), over.axis)
    factor, count = scale * inverse, float(rows.shape[0])
    slant = factor * inverse * shared_along / count
    back = slopes * factor - rows * slant + (mean * slant - factor * shared_total / count)
    return jnp.reshape(back, x.shape).astype(x.dtype), along, total


_by_sums.defvjp(_forward, _backward)


def _lax(x: Batch, scale: Channels, bias: Channels, epsilon: float, axis: Axis) -> Normalized:
    """With the derivative that JAX makes of it."""
    return _normalize(x, scale, bias, epsilon, Reduction(axis, plain_sums))


def _sums(x: Batch, scale: Channels, bias: Channels, epsilon: float, axis: Axis) -> Normalized:
    return _by_sums(x, scale, bias, epsilon, Reduction(axis, plain_sums))


def _native(x: Batch, scale: Channels, bias: Channels, epsilon: float, axis: Axis) -> Normalized:
    return _by_sums(x, scale, bias, epsilon, Reduction(axis, native_sums))


Implementation = Callable[[Batch, Channels, Channels, float, Axis], Normalized]
NORM_IMPLEMENTATIONS: dict[str, Implementation] = {"lax": _lax, "sums": _sums}
if native.available():
    NORM_IMPLEMENTATIONS["native"] = _native


def batch_norm(
    x: Batch,
    scale: Channels,
    bias: Channels,
    *,
    epsilon: float,
    axis_name: str | None = None,
    group_size: int | None = None,
    implementation: str = "auto",
) -> Normalized:
    """Normalizes by the batch's own mean and variance, then scales and shifts.

    With a group size, by those of each group of so many consecutive rows of the whole batch: what
    comes out is the same however the batch is split over devices, whether a group lies on one of
    them or on several. The statistics returned are then the means over all groups.

    Args:
        x: [batch, ..., channels].
        scale: [channels].
        bias: [channels].
        epsilon: added to the variance.
        axis_name: mesh axis over which the batch is split; None: it is all here.
        group_size: rows; None: the whole batch.
        implementation: a name in `NORM_IMPLEMENTATIONS`, or "auto": see `choices`.

    Returns:
        The normalized batch, of `x`'s shape and type, and the mean and the biased variance that
        `batch_statistics` gives: to be tracked, without a gradient.

    Raises:
        InputError: an implementation that does not exist.
        ValueError: see `batch_statistics`; or groups of this size do not fit the rows a device has.
    """
    chosen = choose_implementation("batch_norm", implementation, NORM_IMPLEMENTATIONS)
    x = jnp.asarray(x)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    scale, bias = (match_variance(x, jnp.asarray(a, wide)) for a in (scale, bias))
    normalize = NORM_IMPLEMENTATIONS[chosen]
    if group_size is None:
        normalized, *statistics = normalize(x, scale, bias, epsilon, axis_name)
    else:
        normalized, *statistics = _in_groups(
            normalize, x, scale, bias, epsilon=epsilon, axis_name=axis_name, size=group_size
        )
    mean, variance = map(lax.stop_gradient, statistics)
    return normalized, mean, variance


def _in_groups(
    normalize: Implementation,
    x: Batch,
    scale: Channels,
    bias: Channels,
    *,
    epsilon: float,
    axis_name: str | None,
    size: int,
) -> Normalized:
    rows = len(x)
    if rows % size == 0:
        parts = jnp.reshape(x, (rows // size, size, *x.shape[1:]))
        each = jax.vmap(lambda part: normalize(part, scale, bias, epsilon, None))(parts)
        normalized = jnp.reshape(each[0], x.shape)
        mean, variance = (jnp.mean(values, axis=0) for values in each[1:])
    elif axis_name and size % rows == 0 and lax.axis_size(axis_name) % (size // rows) == 0:
        axis = axis_name, size // rows
        normalized, mean, variance = normalize(x, scale, bias, epsilon, axis)
    else:
        raise ValueError(f"groups of {size} rows do not fit a device's {rows} rows of the batch")
    return normalized, *_mean_over((mean, variance), axis_name)
