"""Small models: several runs in one program, against one after another."""

from collections.abc import Iterator
from typing import Any

from benchmarks.architectures import architecture
from benchmarks.cases import Case, Settings, Variant
from benchmarks.train_step import PEERS, with_allocators, with_kernels

OURS = "benchmarks.ours"
STEPS = 16  # at a time, as training does on a GPU
PACKS = (1, 2, 4, 8, 16)
PACKS_WITH_KERNELS = (4, 8)
# (model, pixels, channels, images a step): what `make ablation` trains, and one that takes some
# 100 MB a run for a step.
MODELS = (
    ("tiny", "xception_tiny", 28, 1, 64),
    ("medium", "xception_small", 32, 3, 8),
)
QUICK_MODELS = (("tiny", "xception_tiny", 8, 1, 2),)


def cases(settings: Settings) -> Iterator[Case]:
    """One case a model; images/s of all runs together."""
    for title, name, size, channels, batch in QUICK_MODELS if settings.quick else MODELS:
        work: dict[str, Any] = {"size": size, "batch": batch}
        ours = {"model": {"name": name}, "channels": channels, "classes": 10, **work}
        if settings.gpu:
            ours["steps"] = STEPS
        alone = Variant("one by one", f"{OURS}:train_step", ours)
        variants = list(with_kernels([alone], settings))
        for runs in (2,) if settings.quick else PACKS:
            pack = Variant(f"{runs} packed", f"{OURS}:train_step", ours | {"slots": runs})
            alike = list(with_kernels([pack], settings))
            variants += alike if runs in PACKS_WITH_KERNELS else alike[:1]
        described = architecture(name, num_classes=10, in_channels=channels)
        theirs = {"architecture": described, **work}
        torch, needs = f"{PEERS}.pytorch:train_step", ("torch",)
        compiled = theirs | {"compiled": True}
        variants += [
            Variant("PyTorch, one by one", torch, theirs, needs=needs),
            Variant("PyTorch compiled, one by one", torch, compiled, needs=needs),
            Variant("plain Flax, one by one", f"{PEERS}.flax_plain:train_step", theirs),
        ]
        if not settings.gpu:
            # The peers as they come, too: a small model's buffers are below what malloc maps.
            doubled = with_allocators(variants)
            variants = [v for v in doubled if v.keeps_memory or v.target.startswith(PEERS)]
        yield Case(
            f"{title}: {name}, {size} px, batch {batch} a run",
            "images/s",
            tuple(variants),
            reference="one by one",
        )
