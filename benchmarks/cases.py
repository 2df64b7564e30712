"""Cases: variants of the same work, measured side by side in one alternating run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# glibc gives large buffers back to the system after every step and faults them in anew; with these
# it keeps them. They have to be there when a process starts.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "16000000000",
    "MALLOC_TOP_PAD_": "67108864",
    "MALLOC_ARENA_MAX": "1",
}


@dataclass(frozen=True)
class Work:
    """The work of a variant, which its target returns in the worker process.

    Attributes:
        run: does the work so many times, and returns when the device has done it: None, or the
            seconds it took where it has a clock of its own.
        amount: how much one time is, in units of the case: images, or runs.
        notes: what else is to be recorded, such as the number of parameters.
        cold: every time is like the first, which is then not done beforehand.
    """

    run: Callable[[int], float | None]
    amount: float
    notes: Mapping[str, Any] = field(default_factory=dict)
    cold: bool = False


@dataclass(frozen=True)
class Variant:
    """One way to do the work of a case, in a process of its own.

    Attributes:
        name: for people, unique in its case.
        target: "module:function"; called with `arguments`, returns a `Work`.
        arguments: plain data.
        environment: variables that the process starts with, beyond this one's.
        needs: packages without which the variant is left out.
    """

    name: str
    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    @property
    def keeps_memory(self) -> bool:
        """Whether malloc is told to."""
        return KEEP_MEMORY.items() <= self.environment.items()


@dataclass(frozen=True)
class Case:
    """Variants that do the same work.

    Attributes:
        name: for people, unique in its benchmark.
        unit: of an amount in a time, such as "images/s" (more is better); or "s" (less is).
        variants: the first is the subject, which the others are there to be compared with.
        reference: name of the variant that ratios are made against; the subject where that one is
            left out.
        once: a round is one time, however short: for work that takes seconds.
    """

    name: str
    unit: str
    variants: tuple[Variant, ...]
    reference: str = ""
    once: bool = False


@dataclass(frozen=True)
class Settings:
    """The settings of one call of the command.

    Attributes:
        quick: tiny shapes and two rounds, to see that everything runs; the figures mean nothing.
        gpu: whether JAX finds one; there are cases in bfloat16, and no malloc to compare.
    """

    quick: bool = False
    gpu: bool = False
