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
IMPLEMENTATIONS: dict[str, Iterable[str]] = {
    "depthwise": ops.DEPTHWISE_IMPLEMENTATIONS,
    "max_pool": ops.POOLING_IMPLEMENTATIONS,
    "pointwise": ops.POINTWISE_IMPLEMENTATIONS,
    "conv": ops.CONVOLUTION_IMPLEMENTATIONS,
    "batch_norm": ops.NORM_IMPLEMENTATIONS,
}


def cases(settings: Settings) -> Iterator[Case]:
    """Forward, and forward with backward, of every different operation in the model."""
    size, batch = (GPU_SIZE, GPU_BATCH) if settings.gpu else (SIZE, BATCH)
    found = operations(MODEL, size)
    if settings.quick:
        depthwise = next(operation for operation in found if operation.kind == "depthwise")
        batch, found = 1, [depthwise._replace(size=6, channels=4, features=4)]
    for dtype in ("float32", "bfloat16") if settings.gpu else ("float32",):
        for operation in found:
            for backward in (True,) if settings.quick else (False, True):
                yield _case(operation, batch, dtype, backward, {} if settings.gpu else KEEP_MEMORY)


def _case(
    operation: Operation, batch: int, dtype: str, backward: bool, environment: dict[str, str]
) -> Case:
    kind, size, channels, features, strides, padding = operation
    shape = batch, size, size, channels
    arguments: dict[str, Any] = {
        "kind": kind,
        "shape": shape,
        "features": features,
        "strides": strides,
        "padding": padding,
        "backward": backward,
        "dtype": dtype,
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
    how = "forward and backward" if backward else "forward"
    return Case(
        f"{kind} {batch}x{size}x{size}x{channels}{change}{stride}, {dtype}, {how}",
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
) -> Work:
    """One operation on [batch, height, width, channels], with both its gradients if `backward`."""
    channels = shape[-1]
    parameters: dict[str, list[tuple[int, ...]]] = {
        "depthwise": [(3, 3, 1, channels)],
        "pointwise": [(1, 1, channels, features)],
        "conv": [(3, 3, channels, features)],
        "batch_norm": [(channels,), (channels,)],
    }
    shapes = [shape, *parameters.get(kind, [])]
    keys = jax.random.split(jax.random.key(0), len(shapes))
    inputs = tuple(
        jax.random.normal(key, size, "float32" if len(size) == 1 else dtype)
        for key, size in zip(keys, shapes, strict=True)
    )
    function = _operation(kind, implementation, strides, padding)
    options = ops.COMPILER_OPTIONS.get(jax.default_backend(), {})
    if not backward:
        return Work(repeating(jax.jit(function, compiler_options=options), inputs), shape[0])
    gradient = jnp.ones_like(jax.eval_shape(function, *inputs))

    def both(inputs: tuple[jax.Array, ...], gradient: jax.Array) -> Any:
        out, pull = jax.vjp(function, *inputs)
        return out, pull(gradient)

    both = jax.jit(both, compiler_options=options)
    return Work(repeating(both, (inputs, gradient)), shape[0])


def _operation(kind: str, implementation: str, strides: int, padding: ops.Padding) -> Any:
    """The function of the image and, where the operation has some, its parameters."""
    if kind == "depthwise":
        return partial(ops.depthwise_conv2d, implementation=implementation)
    if kind == "max_pool":
        return partial(ops.max_pool, window=3, strides=strides, implementation=implementation)
    if kind == "pointwise":
        return partial(ops.pointwise_conv2d, strides=strides, implementation=implementation)
    if kind == "conv":
        return partial(ops.conv2d, strides=strides, padding=padding, implementation=implementation)

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
