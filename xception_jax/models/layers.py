"""The layers of all models: their parameters are float32, their computation of a chosen type."""

from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from numbers import Integral
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
# Truncated normal of variance 1 / fan-in: our choice, the paper does not state its initialization.
KERNEL_INITIALIZER: Initializer = jax.nn.initializers.lecun_normal()
ONES: Initializer = jax.nn.initializers.ones
ZEROS: Initializer = jax.nn.initializers.zeros


def require_count(field: str, value: object, least: int = 1) -> int:
    """Returns an integer as Python's own; raises `InputError` unless it is one, from `least` on."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        near = max(least, round(value)) if isinstance(value, float) and isfinite(value) else least
        raise InputError(field, value, f"must be an integer from {least}", near)
    return int(value)


def kernel_shape(kernel_size: KernelSize) -> tuple[int, int]:
    """A kernel size as (height, width)."""
    return (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size


def padding_in_style(style: str, padding: Padding, strides: int) -> Padding:
    """The padding with which a framework's style says `padding`.

    The styles differ only where a stride leaves an odd number of pixels to pad: TensorFlow puts the
    odd one at the end, PyTorch pads equally on both sides.

    Args:
        style: "same" (TensorFlow, Keras, JAX) or "torch".
        padding: padding in the style "same".
        strides: strides of the convolution or pool.
    """
    return "SYMMETRIC" if (style, padding) == ("torch", "SAME") and strides > 1 else padding


def pad_explicit(
    x: Float[Array, "b h w c"], window: Sequence[int], padding: Padding, fill: float = 0.0
) -> tuple[Float[Array, "b h2 w2 c"], ops.Padding]:
    """Images and a padding that `ops` knows: for "SYMMETRIC" the images are padded here.

    Args:
        x: images [batch, height, width, channels].
        window: (height, width) of the convolution's or pool's window.
        padding: the padding.
        fill: value of the padded pixels.
    """
    if padding != "SYMMETRIC":
        return x, padding
    rows, columns = ((side // 2, side // 2) for side in window)
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=fill), "VALID"


def parameter(rngs: nnx.Rngs, initializer: Initializer, shape: tuple[int, ...]) -> nnx.Param:
    """A float32 parameter that carries its initializer, with which it can be drawn by its path."""
    if isinstance(rngs, AbstractRngs):
        return nnx.Param(jnp.zeros(shape), initializer=initializer)
    return nnx.Param(initializer(rngs.params(), shape, jnp.float32), initializer=initializer)


class AbstractRngs(nnx.Rngs):
    """A stand-in for keys where only the shapes of parameters count: drawing them takes long."""


class Conv(nnx.Module):
    """Regular convolution without bias (batch normalization follows).

    Args:
        in_features: channels of the input.
        out_features: channels of the output.
        kernel_size: size of the kernel, pixels, or (height, width).
        strides: strides of the convolution.
        padding: "SAME", "VALID" or "SYMMETRIC" (PyTorch's).
        dtype: type of the computation.
        rngs: keys of the initial values.
    """

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
        """Convolves images: [b, h, w, in] -> [b, h2, w2, out]."""
        kernel, x = self.kernel[...].astype(self.dtype), x.astype(self.dtype)
        if kernel.shape[:2] == (1, 1):
            return ops.pointwise_conv2d(x, kernel, strides=self.strides)
        x, padding = pad_explicit(x, kernel.shape[:2], self.padding)
        return ops.conv2d(x, kernel, strides=self.strides, padding=padding)


class BatchNorm(nnx.Module):
    """Batch normalization as in Keras: epsilon 1e-3, momentum 0.99, biased variance.

    The statistics are those of the whole batch, reduced over the mesh axis `config.axis_name` where
    the batch is split over one; or those of each group of `config.group_size` rows, whose mean is
    tracked. They are computed in float32; the output has the type of the input.

    Args:
        features: channels of the input.
        config: momentum, epsilon, mesh axis and group size; None: Keras's.
        rngs: keys of the initial values, which are ones and zeros: nothing is drawn.
    """

    def __init__(self, features: int, config: NormConfig | None = None, *, rngs: nnx.Rngs) -> None:
        self.config = NormConfig() if config is None else config
        self.scale = parameter(rngs, ONES, (features,)) if self.config.scale else None
        self.bias = parameter(rngs, ZEROS, (features,))
        momentum = self.config.momentum
        self.mean = nnx.BatchStat(jnp.zeros(features), initializer=ZEROS, momentum=momentum)
        self.variance = nnx.BatchStat(jnp.ones(features), initializer=ONES, momentum=momentum)

    def __call__(
        self, x: Float[Array, "b *s c"], train: bool, *, max_pool: ops.Padding | None = None
    ) -> Float[Array, "b *s2 c"]:
        """Normalizes by the batch's statistics in training, and else by the moving ones.

        In training the moving statistics are updated.

        Args:
            x: batch [batch, ..., channels].
            train: whether to normalize by the batch's statistics, and to track them.
            max_pool: padding of the 3x3 max-pool of stride 2 that follows; None: no pool follows.
        """
        if train:
            if max_pool is None:
                return self._normalize_batch(ops.batch_norm, x)
            return self._normalize_batch(partial(ops.batch_norm_max_pool, padding=max_pool), x)
        scale, shift = self.frozen()
        x = (x.astype(scale.dtype) * scale + shift).astype(x.dtype)
        return x if max_pool is None else ops.max_pool(x, padding=max_pool)

    def frozen(self) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        """The factor and the summand that evaluation applies to each channel."""
        scale = jax.lax.rsqrt(self.variance[...] + self.config.epsilon)
        if self.scale is not None:
            scale = self.scale[...] * scale
        return scale, self.bias[...] - self.mean[...] * scale

    def _normalize_batch(
        self, normalize: Callable[..., tuple[Array, Array, Array]], x: Float[Array, "b *s c"]
    ) -> Float[Array, "b *s2 c"]:
        scale = jnp.ones(x.shape[-1]) if self.scale is None else self.scale[...]
        x, mean, variance = normalize(
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
    """Fully-connected layer with bias.

    Args:
        in_features: features of the input.
        out_features: features of the output.
        dtype: type of the computation.
        rngs: keys of the initial values.
    """

    def __init__(
        self, in_features: int, out_features: int, *, dtype: str = "float32", rngs: nnx.Rngs
    ) -> None:
        self.kernel = parameter(rngs, KERNEL_INITIALIZER, (in_features, out_features))
        self.bias = parameter(rngs, ZEROS, (out_features,))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b f"]:
        """Maps features: [batch, in] -> [batch, out]."""
        kernel, bias = (value[...].astype(self.dtype) for value in (self.kernel, self.bias))
        return x.astype(self.dtype) @ kernel + bias


def dropout(
    x: Float[Array, "b c"], rate: float | Float[Array, ""], keys: Key[Array, " b"] | None
) -> Float[Array, "b c"]:
    """Drops features at `rate` and scales up the rest; without keys (evaluation) does nothing.

    Each example has its own key, so that what is dropped does not depend on how a batch is split.

    Args:
        x: features [batch, features].
        rate: probability with which a feature is dropped.
        keys: keys of the examples [batch]; None: nothing is dropped.
    """
    if keys is None:
        return x
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)
