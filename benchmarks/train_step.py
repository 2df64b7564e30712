"""Whole training steps of Xception: forward, softmax cross-entropy, backward, SGD with momentum."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from benchmarks.architectures import architecture
from benchmarks.cases import KEEP_MEMORY, Case, Settings, Variant

SIZES = ((64, 32), (96, 8), (160, 4), (299, 2))
GPU_SIZES = ((96, 256), (299, 128))
OURS = "benchmarks.ours:train_step"
PEERS = "benchmarks.peers"
REFERENCE = "PyTorch"


def cases(settings: Settings) -> Iterator[Case]:
    """One case a size (pixels, images a step) and type; quick: a tiny model on tiny images."""
    name = "xception_tiny" if settings.quick else "xception"
    classes = 10 if settings.quick else 1000
    sizes = GPU_SIZES if settings.gpu else SIZES
    for dtype in ("float32", "bfloat16") if settings.gpu else ("float32",):
        for size, batch in ((16, 2),) if settings.quick else sizes:
            variants = list(with_kernels(_variants(name, size, batch, classes, dtype), settings))
            if not settings.gpu:
                variants = list(with_allocators(variants))
            yield Case(
                f"{name}, {size} px, batch {batch}, {dtype}",
                "images/s",
                tuple(variants),
                reference=next(v.name for v in variants if v.name.startswith(REFERENCE)),
            )


def _variants(name: str, size: int, batch: int, classes: int, dtype: str) -> Iterator[Variant]:
    work: dict[str, Any] = {"size": size, "batch": batch}
    ours = {"model": {"name": name, "dtype": dtype}, "classes": classes, **work}
    theirs = {"architecture": architecture(name, num_classes=classes), "dtype": dtype, **work}
    yield Variant("xception_jax", OURS, ours)
    yield Variant("PyTorch", f"{PEERS}.pytorch:train_step", theirs, needs=("torch",))
    compiled = theirs | {"compiled": True}
    yield Variant("PyTorch compiled", f"{PEERS}.pytorch:train_step", compiled, needs=("torch",))
    yield Variant("plain Flax", f"{PEERS}.flax_plain:train_step", theirs)
    if name == "xception":  # Keras has no smaller one
        keras = {"classes": classes, "dtype": dtype, **work}
        yield Variant("Keras 3 on JAX", f"{PEERS}.keras_jax:train_step", keras, needs=("keras",))


def with_kernels(variants: Iterable[Variant], settings: Settings) -> Iterator[Variant]:
    """Ours on a CPU twice: in JAX alone, and with the kernels in C++ where they are built."""
    alone = {"XCEPTION_JAX_KERNELS": "off"}
    for variant in variants:
        if settings.gpu or variant.target.startswith(PEERS):
            yield variant
            continue
        yield replace(variant, environment=alone)
        model = variant.arguments["model"] | {"depthwise_implementation": "native"}
        arguments = {**variant.arguments, "model": model}
        yield replace(variant, name=f"{variant.name} with kernels", arguments=arguments)


def with_allocators(variants: list[Variant]) -> Iterator[Variant]:
    """Each variant twice: with malloc told to keep its memory, and with malloc as it comes."""
    for variant in variants:
        for how, environment in (("", KEEP_MEMORY), (", default malloc", {})):
            together = {**variant.environment, **environment}
            yield replace(variant, name=f"{variant.name}{how}", environment=together)
