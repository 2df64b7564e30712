"""The primitives the models stand on, each with a reference beside the fast implementation."""

from xception_jax.ops.convolution import conv2d, pointwise_conv2d
from xception_jax.ops.depthwise import DEPTHWISE_IMPLEMENTATIONS, depthwise_conv2d
from xception_jax.ops.normalization import batch_statistics
from xception_jax.ops.pooling import POOLING_IMPLEMENTATIONS, max_pool
from xception_jax.ops.shapes import Images, Padding, require_images

__all__ = [
    "DEPTHWISE_IMPLEMENTATIONS",
    "POOLING_IMPLEMENTATIONS",
    "Images",
    "Padding",
    "batch_statistics",
    "conv2d",
    "depthwise_conv2d",
    "max_pool",
    "pointwise_conv2d",
    "require_images",
]
