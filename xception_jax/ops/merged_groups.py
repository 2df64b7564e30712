"""Grouped convolutions with fewer, larger groups, whose kernels are block-diagonal.

A TPU multiplies matrices of 128 x 128 numbers and reads 128 channels at a time, however few a group
has. Groups that fit into these together cost no more as one, whose kernel is zero between channels
of different groups. XLA's own operation takes them apart instead, and moves each image more often.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from xception_jax.ops.tiles import Kernel

MergedKernel = Float[Array, "kernel_height kernel_width in_per_merged_group out"]

# The most input channels of groups that are merged: the width of a TPU's registers.
MAX_CHANNELS = 128


def groups_to_merge(groups: int, in_per_group: int) -> int:
    """Returns the largest number of groups to merge that have at most `MAX_CHANNELS` channels.

    It divides `groups`, and is 1, which merges nothing, where one group alone has more.
    """
    divisors = (n for n in range(1, groups + 1) if groups % n == 0)
    return max(n for n in divisors if n == 1 or n * in_per_group <= MAX_CHANNELS)


def block_diagonal(kernel: Kernel, groups: int, merged: int) -> MergedKernel:
    """Returns the kernel of the same convolution over `groups / merged` groups.

    Args:
        kernel: [height, width, in / groups, out].
        groups: number of groups of channels.
        merged: number of adjacent groups that become one, a divisor of `groups`.

    Returns:
        [height, width, in / groups * merged, out], with zeros between channels of different groups.
    """
    inputs, features = kernel.shape[2:]
    merged_inputs = np.arange(merged * inputs)
    group_of_feature = np.arange(features) * groups // features % merged
    # Copies by a product with ones and zeros, in full precision, which is exact. To tile, reshape
    # or concatenate instead makes a TPU move every number several times.
    copies = jnp.asarray(merged_inputs[:, None] % inputs == np.arange(inputs), kernel.dtype)
    rows = jnp.einsum("ri,hwif->hwrf", copies, kernel, precision=lax.Precision.HIGHEST)
    in_same_group = merged_inputs[:, None] // inputs == group_of_feature
    return jnp.where(in_same_group, rows, jnp.zeros((), kernel.dtype))
