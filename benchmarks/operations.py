"""The operations of the real model one by one: every implementation, and PyTorch's."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.architectures import Operation, operations
from benchmarks.cases import KEEP_MEMORY, Case, Settings, Variant, Work
from xception_jax import ops

MODEL, SIZE, BATCH = "xception", 96, 8
GPU_SIZE, GPU_BATCH = 299, 64
# Convolutions between one group and one per channel, as of experiments/segments.py, on its base and
# in the middle flow of Xception: (size, channels).
GROUPED, GROUPS = ((14, 96), (19, 728)), (8, 4, 2, 1)
IMPLEMENTATIONS: dict[str, Iterable[str]] = {
    "depthwise": ops.DEPTHWISE_IMPLEMENTATIONS,
    "max_pool": ops.POOLING_IMPLEMENTATIONS,
    "pointwise": ops.POINTWISE_IMPLEMENTATIONS,
    "conv": ops.CONVOLUTION_IMPLEMENTATIONS,
    "grouped": ops.CONVOLUTION_IMPLEMENTATIONS,
    "batch_norm": ops.NORM_IMPLEMENTATIONS,
}


def cases(settings: Settings) -> Iterator[Case]:
    """Forward, and forward with backward, of every different operation in the model."""
    size, batch = (GPU_SIZE, GPU_BATCH) if settings.gpu else (SIZE, BATCH)
    found = [(operation, 1) for operation in operations(MODEL, size)]
    found += [
        (Operation("grouped", pixels, channels, channels), groups)
        for pixels, channels in GROUPED
        for groups in GROUPS
    ]
    if settings.quick:
        batch, found = 1, [(Operation(kind, 6, 4, 4), 2) for kind in ("depthwise", "grouped")]
    for dtype in ("float32", "bfloat16") if settings.gpu else ("float32",):
        environment = {} if settings.gpu else KEEP_MEMORY
        for operation, groups in found:
            for backward in (True,) if settings.quick else (False, True):
                work = {"backward": backward, "dtype": dtype, "groups": groups}
                yield _case(operation, batch, work, environment)


def _case(
    operation: Operation, batch: int, work: dict[str, Any], environment: dict[str, str]
) -> Case:
    kind, size, channels, features, strides, padding = operation
    shape = batch, size, size, channels
    arguments: dict[str, Any] = {
        "kind": kind,
        "shape": shape,
        "features": features,
        "strides": strides,
        "padding": padding,
        **work,
    }
    variants = [
        Variant(name, "benchmarks.operations:operation", arguments | {"implementation": name})
        for name in ("auto", *IMPLEMENTATIONS[kind])
    ]
    variants.append(
        Variant("PyTorch", "benchmarks.peers.pytorch:operation", arguments, needs=("torch",))
    )
    change = f" to {features}" if features != channels else ""
    stride = f", stride {strides}" if strides > 1 else ""
    groups = f", {work['groups']} groups" if kind == "grouped" else ""
    how = "forward and backward" if work["backward"] else "forward"
    return Case(
        f"{kind} {batch}x{size}x{size}x{channels}{change}{stride}{groups}, {work['dtype']}, {how}",
        "images/s",
        tuple(Variant(v.name, v.target, v.arguments, environment, v.needs) for v in variants),
        reference="PyTorch",
    )


def operation(
    *,
    kind: str,
    shape: tuple[int, int, int, int],
    features: int,
    strides: int,
    padding: ops.Padding,
    implementation: str,
    backward: bool,
    dtype: str,
    groups: int = 1,
) -> Work:
    """One operation on [batch, height, width, channels], with both its gradients if `backward`."""
    channels = shape[-1]
    parameters: dict[str, list[tuple[int, ...]]] = {
        "depthwise": [(3, 3, 1, channels)],
        "pointwise": [(1, 1, channels, features)],
        "conv": [(3, 3, channels, features)],
        "grouped": [(3, 3, channels // groups, features)],
        "batch_norm": [(channels,), (channels,)],
    }
    shapes = [shape, *parameters.get(kind, [])]
    keys = jax.random.split(jax.random.key(0), len(shapes))
    inputs = tuple(
        jax.random.normal(key, size, "float32" if len(size) == 1 else dtype)
        for key, size in zip(keys, shapes, strict=True)
    )
    function = _operation(kind, implementation, strides, padding, groups)
    options = ops.COMPILER_OPTIONS.get(jax.default_backend(), {})
    if not backward:
        return Work(repeating(jax.jit(function, compiler_options=options), inputs), shape[0])
    gradient = jnp.ones_like(jax.eval_shape(function, *inputs))

    def both(inputs: tuple[jax.Array, ...], gradient: jax.Array) -> Any:
        out, pull = jax.vjp(function, *inputs)
        return out, pull(gradient)

    both = jax.jit(both, compiler_options=options)
    return Work(repeating(both, (inputs, gradient)), shape[0])


def _operation(
    kind: str, implementation: str, strides: int, padding: ops.Padding, groups: int
) -> Any:
    """The function of the image and, where the operation has some, its parameters."""
    if kind == "depthwise":
        return partial(ops.depthwise_conv2d, implementation=implementation)
    if kind == "max_pool":
        return partial(ops.max_pool, window=3, strides=strides, implementation=implementation)
    if kind == "pointwise":
        return partial(ops.pointwise_conv2d, strides=strides, implementation=implementation)
    if kind in ("conv", "grouped"):
        return partial(
            ops.conv2d,
            strides=strides,
            padding=padding,
            groups=groups,
            implementation=implementation,
        )

    def batch_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        return ops.batch_norm(x, scale, bias, epsilon=1e-3, implementation=implementation)[0]

    return batch_norm


def repeating(function: Any, arguments: tuple[Any, ...]) -> Callable[[int], None]:
    """Calls so many times, one dispatched after another; returns when the last is done."""

    def run(times: int) -> None:
        result: Any = None
        for _ in range(times):
            result = function(*arguments)
        jax.block_until_ready(result)

    return run
