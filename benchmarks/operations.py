"""The operations of the real model one by one: every implementation, and PyTorch's."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.architectures import Operation, operations
from benchmarks.cases import KEEP_MEMORY, Case, Settings, Variant, Work
from xception_jax import ops

MODEL, SIZE, BATCH = "xception", 96, 8
GPU_SIZE, GPU_BATCH = 299, 64


def cases(settings: Settings) -> Iterator[Case]:
    """Forward, and forward with backward, of every different operation in the model."""
    size, batch = (GPU_SIZE, GPU_BATCH) if settings.gpu else (SIZE, BATCH)
    found = operations(MODEL, size)
    if settings.quick:
        small = {"size": 6, "channels": 4, "features": 4}
        batch, found = 1, [next(o for o in found if o.kind == "depthwise")._replace(**small)]
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
        for name in _implementations(kind)
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


def _implementations(kind: str) -> list[str]:
    listed = {
        "depthwise": ops.DEPTHWISE_IMPLEMENTATIONS,
        "max_pool": ops.POOLING_IMPLEMENTATIONS,
        "batch_norm": (),
    }
    return ["auto", *listed.get(kind, ("lax",))]


def operation(
    *,
    kind: str,
    shape: tuple[int, int, int, int],
    features: int,
    strides: int,
    padding: str,
    implementation: str,
    backward: bool,
    dtype: str,
) -> Work:
    """One operation on [batch, height, width, channels], with both its gradients if `backward`."""
    channels = shape[-1]
    kernels = {
        "depthwise": (3, 3, 1, channels),
        "pointwise": (1, 1, channels, features),
        "conv": (3, 3, channels, features),
    }
    x = jax.random.normal(jax.random.key(0), shape, dtype)
    inputs: tuple[jax.Array, ...] = (x,)
    if kind in kernels:
        inputs = x, jax.random.normal(jax.random.key(1), kernels[kind], dtype)
    function = _operation(kind, implementation, strides, padding)
    if not backward:
        return Work(repeating(jax.jit(function), inputs), shape[0])
    gradient = jnp.ones_like(jax.eval_shape(function, *inputs))

    def both(inputs: tuple[jax.Array, ...], gradient: jax.Array) -> Any:
        out, pull = jax.vjp(function, *inputs)
        return out, pull(gradient)

    return Work(repeating(jax.jit(both), (inputs, gradient)), shape[0])


def _operation(kind: str, implementation: str, strides: int, padding: str) -> Any:
    """The function of (x) or (x, kernel); implementation "lax" is plain XLA."""
    if kind == "depthwise":
        return partial(ops.depthwise_conv2d, implementation=implementation)
    if kind == "max_pool":
        return partial(ops.max_pool, window=3, strides=strides, implementation=implementation)
    if kind == "batch_norm":
        return _normalize
    if kind == "pointwise" and implementation != "lax":
        return partial(ops.pointwise_conv2d, strides=strides)
    if implementation == "lax":
        return lambda x, kernel: jax.lax.conv_general_dilated(
            x, kernel, (strides, strides), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    return partial(ops.conv2d, strides=strides, padding=padding)


def _normalize(x: jax.Array) -> jax.Array:
    mean, variance = ops.batch_statistics(x)
    scale = jax.lax.rsqrt(variance + 1e-3)
    return (x * scale - mean * scale).astype(x.dtype)


def repeating(function: Any, arguments: tuple[Any, ...]) -> Callable[[int], None]:
    """Calls so many times, one dispatched after another; returns when the last is done."""

    def run(times: int) -> None:
        result: Any = None
        for _ in range(times):
            result = function(*arguments)
        jax.block_until_ready(result)

    return run
