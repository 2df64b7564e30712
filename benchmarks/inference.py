"""Logits of Xception in evaluation, batch normalization by moving statistics."""

from collections.abc import Iterator
from typing import Any

from benchmarks.architectures import architecture
from benchmarks.cases import Case, Settings, Variant
from benchmarks.train_step import PEERS, with_allocators, with_kernels

SIZES = ((96, 8), (299, 2))
GPU_SIZES = ((299, 256),)
OURS = "benchmarks.ours:inference"


def cases(settings: Settings) -> Iterator[Case]:
    """One case a size (pixels, images at once) and type; on CPU all keep their memory."""
    name = "xception_tiny" if settings.quick else "xception"
    classes = 10 if settings.quick else 1000
    sizes = GPU_SIZES if settings.gpu else SIZES
    for dtype in ("float32", "bfloat16") if settings.gpu else ("float32",):
        for size, batch in ((16, 2),) if settings.quick else sizes:
            variants = list(with_kernels(_variants(name, size, batch, classes, dtype), settings))
            if not settings.gpu:
                variants = [v for v in with_allocators(variants) if v.keeps_memory]
            title = f"{name}, {size} px, batch {batch}, {dtype}"
            yield Case(title, "images/s", tuple(variants), reference="PyTorch eval")


def _variants(name: str, size: int, batch: int, classes: int, dtype: str) -> Iterator[Variant]:
    work: dict[str, Any] = {"size": size, "batch": batch}
    ours = {"model": {"name": name, "dtype": dtype}, "classes": classes, **work}
    theirs = {"architecture": architecture(name, num_classes=classes), "dtype": dtype, **work}
    yield Variant("xception_jax, folded", OURS, ours | {"folded": True})
    yield Variant("xception_jax", OURS, ours | {"folded": False})
    torch, needs = f"{PEERS}.pytorch:inference", ("torch",)
    yield Variant("PyTorch eval", torch, theirs | {"mode": "eval"}, needs=needs)
    yield Variant("PyTorch folded, frozen", torch, theirs | {"mode": "folded"}, needs=needs)
    yield Variant("PyTorch compiled", torch, theirs | {"mode": "compiled"}, needs=needs)
    yield Variant("plain Flax", f"{PEERS}.flax_plain:inference", theirs)
    if name == "xception":
        keras = {"classes": classes, "dtype": dtype, **work}
        yield Variant("Keras 3 on JAX", f"{PEERS}.keras_jax:inference", keras, needs=("keras",))
