"""Batch normalization and its statistics, on one device or over all devices that share a batch."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from xception_jax.ops import native
from xception_jax.ops.column_sums import Channels, ColumnSums, Rows, native_sums, plain_sums
from xception_jax.ops.dispatch import choose_implementation
from xception_jax.ops.shapes import match_variance, varying_axes

Batch = Float[Array, "batch *spatial channels"]
Normalized = tuple[Batch, Channels, Channels]
# With images of another size: normalization may be followed by more.
Pooled = tuple[Float[Array, "batch *new_spatial channels"], Channels, Channels]
# A mesh axis over which a batch is split, or its name and the number of adjacent devices per group.
Axis = str | tuple[str, int] | None


class Reduction(NamedTuple):
    """How to average over a batch: by `sums` on each device, then over devices along `axis`."""

    axis: Axis
    sums: ColumnSums


def batch_statistics(x: Batch, axis_name: Axis = None) -> tuple[Channels, Channels]:
    """Computes the mean and (biased, as in Keras) variance per channel, in float32 at least.

    The variance is computed in one pass, as mean(x^2) - mean(x)^2. It loses digits if a channel's
    mean is far larger than its deviation: its relative error is about mean^2 / variance times
    float32's 6e-8.

    Args:
        x: [batch, ..., channels].
        axis_name: mesh axis over which the batch is split, or (axis, number of adjacent devices
            that hold a group); None if the whole batch is on this device.

    Returns:
        The mean and the variance, [channels] each.

    Raises:
        ValueError: `x` lacks a batch or channel dimension, or is empty.
    """
    return moments(jnp.asarray(x), Reduction(axis_name, plain_sums))


def moments(x: Batch, over: Reduction) -> tuple[Channels, Channels]:
    """Computes `batch_statistics` with the sums of `over`."""
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"x must be [batch, ..., channels], not empty; got shape {x.shape}")
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    rows = jnp.reshape(wide, (-1, x.shape[-1]))
    total, squares = over.sums(rows, rows)
    count = float(rows.shape[0])  # may exceed the range of int32
    mean, square = mean_over((total / count, squares / count), over.axis)
    # Rounding can leave a tiny negative number where the variance is zero.
    return mean, jnp.maximum(square - mean * mean, 0)


def mean_over(values: tuple[Channels, Channels], axis: Axis) -> tuple[Channels, Channels]:
    """Averages both values over the devices along `axis`, or over each group of adjacent ones."""
    groups = None
    if axis is None:
        return values
    if not isinstance(axis, str):
        axis, size = axis
        groups = np.arange(lax.axis_size(axis)).reshape(-1, size).tolist()
    if lax.axis_size(axis) == 1 and not any(axis in varying_axes(v) for v in values):
        return values  # XLA:CPU would copy them even for a single device
    mean: tuple[Channels, Channels] = lax.pmean(values, axis, axis_index_groups=groups)
    return mean


def _normalize(
    x: Batch, scale: Channels, bias: Channels, epsilon: float, over: Reduction
) -> Normalized:
    wide = x.astype(scale.dtype)  # once: otherwise each part of its gradient is rounded separately
    mean, variance = moments(wide, over)
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
    # Not `_by_sums`: a second derivative needs the gradient of the statistics, which it cuts off.
    normalized, mean, variance = _normalize(x, scale, bias, epsilon, over)
    return (normalized, mean, variance), (x, scale, mean, variance)


def _backward(
    epsilon: float,
    over: Reduction,
    saved: tuple[Batch, Channels, Channels, Channels],
    gradients: Normalized,
) -> tuple[Batch, Channels, Channels]:
    """Computes all gradients by two column sums and one elementwise loop, repeating nothing.

    The returned statistics have no gradient: see `batch_norm`.
    """
    x, scale, mean, variance = saved
    rows, out_gradient = (
        jnp.reshape(a, (-1, a.shape[-1])).astype(mean.dtype) for a in (x, gradients[0])
    )
    inverse, count = lax.rsqrt(variance + epsilon), float(rows.shape[0])
    (scale_gradient, bias_gradient), (factor, slope, shift) = gradient_terms(
        out_gradient, rows, over, mean=mean, inverse=inverse, scale=scale, count=count
    )
    x_gradient = out_gradient * factor - rows * slope + shift
    return jnp.reshape(x_gradient, x.shape).astype(x.dtype), scale_gradient, bias_gradient


_by_sums.defvjp(_forward, _backward)


def gradient_terms(
    out_gradient: Rows,
    rows: Rows,
    over: Reduction,
    *,
    mean: Channels,
    inverse: Channels,
    scale: Channels,
    count: float,
) -> tuple[tuple[Channels, Channels], tuple[Channels, Channels, Channels]]:
    """Computes what the gradients of a normalization need, by two column sums.

    Args:
        out_gradient: gradient of the normalized rows; those where it is zero may be left out.
        rows: the same rows before normalization.
        over: how to average over the batch.
        mean: mean of the batch.
        inverse: inverse of its standard deviation.
        scale: scale of the normalization.
        count: number of rows of the batch on this device, with those left out.

    Returns:
        The gradients of the scale and of the bias; and the factor, slope and shift that give the
        gradient of the batch x from that of its normalization y: y * factor - x * slope + shift.
    """
    bias_gradient, product = over.sums(out_gradient, rows)
    scale_gradient = (product - mean * bias_gradient) * inverse
    mean_bias, mean_scale = mean_over((bias_gradient, scale_gradient), over.axis)
    factor = scale * inverse
    slope = factor * inverse * mean_scale / count
    shift = mean * slope - factor * mean_bias / count
    return (scale_gradient, bias_gradient), (factor, slope, shift)


def _lax(x: Batch, scale: Channels, bias: Channels, epsilon: float, axis: Axis) -> Normalized:
    """Normalizes with the derivative that JAX derives."""
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
    """Normalizes a batch by its own mean and variance, then scales and shifts it.

    If `group_size` is given, each group of that many consecutive rows of the whole batch is
    normalized by its own statistics. The result does not depend on how the batch is split over
    devices; a group may lie on one or several. The returned statistics are the means over groups.

    Args:
        x: [batch, ..., channels].
        scale: [channels].
        bias: [channels].
        epsilon: number added to the variance.
        axis_name: mesh axis over which the batch is split; None if it is all on this device.
        group_size: number of rows per group; None: the whole batch is one group.
        implementation: a name in `NORM_IMPLEMENTATIONS`, or "auto": see `dispatch`.

    Returns:
        The normalized batch, with the shape and dtype of `x`, and the mean and biased variance as
        from `batch_statistics`. The last two are meant for tracking and have no gradient.

    Raises:
        InputError: `implementation` is unknown.
        ValueError: `x` is invalid, see `batch_statistics`, or `group_size` does not fit the number
            of rows on a device.
    """
    chosen = choose_implementation("batch_norm", implementation, NORM_IMPLEMENTATIONS)
    return normalize_groups(
        NORM_IMPLEMENTATIONS[chosen],
        jnp.asarray(x),
        scale,
        bias,
        epsilon=epsilon,
        axis_name=axis_name,
        size=group_size,
    )


def normalize_groups(
    normalize: Callable[[Batch, Channels, Channels, float, Axis], Pooled],
    x: Batch,
    scale: Channels,
    bias: Channels,
    *,
    epsilon: float,
    axis_name: str | None,
    size: int | None,
) -> Pooled:
    """Normalizes by the statistics of each group of `size` rows; None: of the whole batch.

    `normalize` is given the scale and bias in float32 at least. The returned statistics, the means
    over groups, have no gradient.

    Raises:
        ValueError: `size` does not fit the number of rows on a device.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    scale, bias = (match_variance(x, jnp.asarray(a, wide)) for a in (scale, bias))
    if size is None:
        normalized, mean, variance = normalize(x, scale, bias, epsilon, axis_name)
    elif (rows := len(x)) % size == 0:
        groups = jnp.reshape(x, (rows // size, size, *x.shape[1:]))
        normalized, *statistics = jax.vmap(
            lambda group: normalize(group, scale, bias, epsilon, None)
        )(groups)
        normalized = jnp.reshape(normalized, (rows, *normalized.shape[2:]))
        mean, variance = (jnp.mean(values, axis=0) for values in statistics)
    elif axis_name and size % rows == 0 and lax.axis_size(axis_name) % (size // rows) == 0:
        axis = axis_name, size // rows
        normalized, mean, variance = normalize(x, scale, bias, epsilon, axis)
    else:
        raise ValueError(f"groups of {size} rows do not fit a device's {rows} rows of the batch")
    if size is not None:
        mean, variance = mean_over((mean, variance), axis_name)
    return normalized, lax.stop_gradient(mean), lax.stop_gradient(variance)
