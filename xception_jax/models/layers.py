"""The layers every model is made of: parameters in float32, computation in a chosen type."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from xception_jax import ops
from xception_jax.config.model import KernelSize, NormConfig
from xception_jax.errors import InputError

Initializer = Callable[..., Array]
# "SYMMETRIC" is PyTorch's: half the window on every side, whatever the stride and the size.
Padding = Literal["SAME", "VALID", "SYMMETRIC"]
# Variance 1 / fan-in, truncated normal: our choice, the paper does not state its initialization.
KERNEL_INITIALIZER: Initializer = jax.nn.initializers.lecun_normal()
ONES: Initializer = jax.nn.initializers.ones
ZEROS: Initializer = jax.nn.initializers.zeros


def require_count(field: str, value: object, least: int = 1) -> None:
    """Raises `InputError` unless `value` is an integer from `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        near = max(least, round(value)) if isinstance(value, float) and isfinite(value) else least
        raise InputError(field, value, f"must be an integer from {least}", near)


def kernel_shape(kernel_size: KernelSize) -> tuple[int, int]:
    """(height, width)."""
    return (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size


def padded_like(style: str, padding: Padding, strides: int) -> Padding:
    """What `padding` is in the style "same" (TensorFlow, Keras, JAX) or "torch".

    The two differ only where a stride leaves an odd number of pixels to pad: TensorFlow puts the
    odd one at the end, PyTorch pads alike on both sides.
    """
    return "SYMMETRIC" if (style, padding) == ("torch", "SAME") and strides > 1 else padding


def pad_explicit(
    x: Float[Array, "b h w c"], window: Sequence[int], padding: Padding, fill: float = 0.0
) -> tuple[Float[Array, "b h2 w2 c"], ops.Padding]:
    """`x` and a padding that `ops` knows: "SYMMETRIC" is done here, with the value `fill`."""
    if padding != "SYMMETRIC":
        return x, padding
    rows, columns = ((side // 2, side // 2) for side in window)
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=fill), "VALID"


def parameter(rngs: nnx.Rngs, initializer: Initializer, shape: tuple[int, ...]) -> nnx.Param:
    """A float32 parameter that remembers how it is drawn, so that it can be drawn by its path."""
    if isinstance(rngs, AbstractRngs):
        return nnx.Param(jnp.zeros(shape), initializer=initializer)
    return nnx.Param(initializer(rngs.params(), shape, jnp.float32), initializer=initializer)


class AbstractRngs(nnx.Rngs):
    """In the place of keys where only the shapes of parameters count: drawing takes long."""


class Conv(nnx.Module):
    """Regular convolution without bias (batch normalization follows)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: KernelSize = 3,
        *,
        strides: int = 1,
        padding: Padding = "SAME",
        dtype: str = "float32",
        rngs: nnx.Rngs,
    ) -> None:
        shape = (*kernel_shape(kernel_size), in_features, out_features)
        self.kernel = parameter(rngs, KERNEL_INITIALIZER, shape)
        self.strides, self.padding, self.dtype = strides, padding, dtype

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        """[batch, height, width, in] -> [batch, new height, new width, out]."""
        kernel, x = self.kernel[...].astype(self.dtype), x.astype(self.dtype)
        if kernel.shape[:2] == (1, 1):
            return ops.pointwise_conv2d(x, kernel, strides=self.strides)
        x, padding = pad_explicit(x, kernel.shape[:2], self.padding)
        return ops.conv2d(x, kernel, strides=self.strides, padding=padding)


class BatchNorm(nnx.Module):
    """Batch normalization as in Keras: epsilon 1e-3, momentum 0.99, biased variance.

    The statistics are those of the whole batch: reduced over the mesh axis `config.axis_name` where
    the batch is split over one; or of each `config.group_size` rows of it, whose mean is tracked.
    Computed in float32 whatever the type of the input, which it returns.

    Args:
        features: channels of the input.
        config: momentum, epsilon, mesh axis and group size; None: Keras's.
        rngs: draw nothing here, for the initial values are ones and zeros.
    """

    def __init__(self, features: int, config: NormConfig | None = None, *, rngs: nnx.Rngs) -> None:
        self.config = NormConfig() if config is None else config
        self.scale = parameter(rngs, ONES, (features,)) if self.config.scale else None
        self.bias = parameter(rngs, ZEROS, (features,))
        self.mean = nnx.BatchStat(jnp.zeros(features), initializer=ZEROS)
        self.variance = nnx.BatchStat(jnp.ones(features), initializer=ONES)

    def __call__(self, x: Float[Array, "b *s c"], train: bool) -> Float[Array, "b *s c"]:
        """Normalizes by the batch's statistics in training (and tracks them), else by these."""
        if train:
            return self._normalize_batch(x)
        scale, shift = self.frozen()
        return (x.astype(scale.dtype) * scale + shift).astype(x.dtype)

    def frozen(self) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        """What evaluation multiplies by, then adds."""
        scale = jax.lax.rsqrt(self.variance[...] + self.config.epsilon)
        if self.scale is not None:
            scale = self.scale[...] * scale
        return scale, self.bias[...] - self.mean[...] * scale

    def _normalize_batch(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *s c"]:
        scale = jnp.ones(x.shape[-1]) if self.scale is None else self.scale[...]
        x, mean, variance = ops.batch_norm(
            x,
            scale,
            self.bias[...],
            epsilon=self.config.epsilon,
            axis_name=self.config.axis_name,
            group_size=self.config.group_size,
        )
        momentum = self.config.momentum
        for moving, current in ((self.mean, mean), (self.variance, variance)):
            # By index would compare shardings, which takes long under a trace.
            moving.set_value(momentum * moving[...] + (1 - momentum) * current)
        return x


class Dense(nnx.Module):
    """Fully-connected layer with bias."""

    def __init__(
        self, in_features: int, out_features: int, *, dtype: str = "float32", rngs: nnx.Rngs
    ) -> None:
        self.kernel = parameter(rngs, KERNEL_INITIALIZER, (in_features, out_features))
        self.bias = parameter(rngs, ZEROS, (out_features,))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b f"]:
        """[batch, in] -> [batch, out]."""
        kernel, bias = (value[...].astype(self.dtype) for value in (self.kernel, self.bias))
        return x.astype(self.dtype) @ kernel + bias


def dropout(
    x: Float[Array, "b c"], rate: float | Float[Array, ""], keys: Key[Array, " b"] | None
) -> Float[Array, "b c"]:
    """Drops features at `rate` and scales up the rest; without keys (evaluation) does nothing.

    One key an example, so that what is dropped does not depend on how a batch is split.
    """
    if keys is None:
        return x
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)
