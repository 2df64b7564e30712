"""An independent implementation of timm's `legacy_xception`: its tensors and its logits.

It uses PyTorch's layouts (images [batch, channels, height, width], kernels [out, in, k, k]) and
`lax` alone, and follows the published structure rather than this package's layer table.
"""

from collections.abc import Mapping
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from tests.weight_files import SMALL

EPSILON = 1e-5  # of PyTorch's batch normalization


def widths(width: float = 1.0, middle: int = 8) -> tuple[list[int], list[list[int]], list[int]]:
    """Features of the stem, of each block (those of its input first), and of the last layers."""

    def scale(*features: int) -> list[int]:
        return [max(1, round(count * width)) for count in features]

    blocks = [scale(64, 128, 128), scale(128, 256, 256), scale(256, 728, 728)]
    blocks += [scale(728, 728, 728, 728)] * middle
    return scale(32, 64), [*blocks, scale(728, 728, 1024)], scale(1024, 1536, 2048)


def shapes(classes: int = 1000, width: float = 1.0, middle: int = 8) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor by name."""
    stem, blocks, tail = widths(width, middle)
    tensors: dict[str, tuple[int, ...]] = {}

    def norm(name: str, features: int) -> None:
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{name}.{tensor}"] = (features,)
        tensors[f"{name}.num_batches_tracked"] = ()

    def separable(name: str, before: int, after: int) -> None:
        tensors[f"{name}.conv1.weight"] = (before, 1, 3, 3)
        tensors[f"{name}.pointwise.weight"] = (after, before, 1, 1)

    for i, (before, after) in enumerate(pairwise([3, *stem]), 1):
        tensors[f"conv{i}.weight"] = (after, before, 3, 3)
        norm(f"bn{i}", after)
    for number, features in enumerate(blocks, 1):
        index = 0 if number == 1 else 1  # block 1 begins without a ReLU
        for before, after in pairwise(features):
            separable(f"block{number}.rep.{index}", before, after)
            norm(f"block{number}.rep.{index + 1}", after)
            index += 3
        if has_skip(number, len(blocks)):
            tensors[f"block{number}.skip.weight"] = (features[-1], features[0], 1, 1)
            norm(f"block{number}.skipbn", features[-1])
    for i, (before, after) in enumerate(pairwise(tail), 3):
        separable(f"conv{i}", before, after)
        norm(f"bn{i}", after)
    return {**tensors, "fc.weight": (classes, tail[-1]), "fc.bias": (classes,)}


def has_skip(number: int, blocks: int) -> bool:
    """Whether a block is strided and has a skip: the first three blocks and the last one."""
    return number <= 3 or number == blocks


def draw(shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random tensors with which activations keep their magnitude."""
    drawn = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            drawn[name] = np.array(7, np.int64)
        elif len(shape) > 1:
            value = rng.normal(0, np.sqrt(1 / np.prod(shape[1:])), shape)
        elif name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("weight"):
            value = rng.uniform(0.5, 1.0, shape)
        else:
            value = rng.normal(0, 0.3, shape)
        if not name.endswith("num_batches_tracked"):
            drawn[name] = value.astype(np.float32)
    return drawn


def small_state(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random tensors of the small model."""
    layout = {"width": SMALL["width"], "middle": SMALL["middle_modules"]}
    return draw(shapes(SMALL["num_classes"], **layout), rng)


def logits(state: Mapping[str, np.ndarray], images: np.ndarray) -> Array:
    """Logits of the network in evaluation for images [batch, 3, height, width]."""

    def conv(name: str, x: Array, stride: int = 1, pad: int = 0) -> Array:
        kernel = jnp.asarray(state[f"{name}.weight"])
        groups = x.shape[1] // kernel.shape[1]
        numbers = ("NCHW", "OIHW", "NCHW")
        pads = [(pad, pad)] * 2
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, dimension_numbers=numbers, feature_group_count=groups
        )

    def norm(name: str, x: Array) -> Array:
        weight, bias, mean, variance = (
            jnp.asarray(state[f"{name}.{part}"])[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / jnp.sqrt(variance + EPSILON) * weight + bias

    def separable(name: str, x: Array) -> Array:
        return conv(f"{name}.pointwise", conv(f"{name}.conv1", x, pad=1))

    def pool(x: Array) -> Array:
        pads = ((0, 0), (0, 0), (1, 1), (1, 1))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 3, 3), (1, 1, 2, 2), pads)

    x = jax.nn.relu(norm("bn1", conv("conv1", jnp.asarray(images), stride=2)))
    x = jax.nn.relu(norm("bn2", conv("conv2", x)))
    blocks = len({name.split(".")[0] for name in state if name.startswith("block")})
    for number in range(1, blocks + 1):
        before, strided = x, has_skip(number, blocks)
        for i in range(2 if strided else 3):
            index = 3 * i + (number > 1)
            x = x if number == 1 and i == 0 else jax.nn.relu(x)
            x = norm(f"block{number}.rep.{index + 1}", separable(f"block{number}.rep.{index}", x))
        if strided:
            skip = norm(f"block{number}.skipbn", conv(f"block{number}.skip", before, stride=2))
            x = pool(x) + skip
        else:
            x = x + before
    for i in (3, 4):
        x = jax.nn.relu(norm(f"bn{i}", separable(f"conv{i}", x)))
    return jnp.mean(x, axis=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]
