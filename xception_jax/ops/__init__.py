"""The operations that models are built from, each with a reference beside fast implementations.

Fast implementations have gradients of their own, which JAX can differentiate again in reverse mode
only. Forward mode (`jax.jvp`, `jax.linearize`, `jax.jacfwd`, `jax.hessian`) needs the references:
`implementation="lax"` of an operation, or `references_only()` around a whole model. With others it
raises TypeError.
"""

from xception_jax.ops.convolution import (
    CONVOLUTION_IMPLEMENTATIONS,
    POINTWISE_IMPLEMENTATIONS,
    conv2d,
    pointwise_conv2d,
)
from xception_jax.ops.depthwise import DEPTHWISE_IMPLEMENTATIONS, depthwise_conv2d
from xception_jax.ops.dispatch import (
    COMPILER_OPTIONS,
    choose_implementation,
    references_only,
)
from xception_jax.ops.norm_pool import NORM_POOL_IMPLEMENTATIONS, batch_norm_max_pool
from xception_jax.ops.normalization import NORM_IMPLEMENTATIONS, batch_norm, batch_statistics
from xception_jax.ops.pooling import POOLING_IMPLEMENTATIONS, max_pool
from xception_jax.ops.shapes import Images, Padding, require_images

__all__ = [
    "COMPILER_OPTIONS",
    "CONVOLUTION_IMPLEMENTATIONS",
    "DEPTHWISE_IMPLEMENTATIONS",
    "NORM_IMPLEMENTATIONS",
    "NORM_POOL_IMPLEMENTATIONS",
    "POINTWISE_IMPLEMENTATIONS",
    "POOLING_IMPLEMENTATIONS",
    "Images",
    "Padding",
    "batch_norm",
    "batch_norm_max_pool",
    "batch_statistics",
    "choose_implementation",
    "conv2d",
    "depthwise_conv2d",
    "max_pool",
    "pointwise_conv2d",
    "references_only",
    "require_images",
]
