"""What a compiled program sends between its devices, read from its text."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from math import prod

_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
# %name = type kind(operands), attributes; of an asynchronous pair only the start is counted.
_INSTRUCTION = re.compile(rf"^\s*(?:ROOT )?%?\S+ = (.+?) ({_KINDS})(-start)?\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d+[a-z0-9]*|pred)\[([\d,]*)\]")
_LISTED_GROUP = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_COUNTED_GROUPS = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_ORIGIN = re.compile(r'op_name="([^"]*)"')
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Collective:
    """One array that devices exchange.

    Attributes:
        kind: "all-reduce", "all-gather", …
        dtype: as HLO calls it, such as "f32".
        shape: of the larger of what a device gives and what it gets.
        devices: that exchange it with each other; 1: none, so that nothing is sent.
        origin: the operation of the traced program that it comes from.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...]
    devices: int
    origin: str

    def __str__(self) -> str:
        shape = ",".join(map(str, self.shape))
        return f"{self.kind} of {self.dtype}[{shape}] from {self.origin or 'nowhere named'}"

    @property
    def bytes(self) -> int:
        """Of the array."""
        bits = 8 if self.dtype == "pred" else int(_DIGITS.findall(self.dtype)[0])
        return prod(self.shape) * bits // 8

    @property
    def sent_bytes(self) -> float:
        """That each device has to send at least, as on a ring."""
        if self.kind.startswith("collective"):
            return float(self.bytes) * (self.devices > 1)
        passes = 2 if self.kind == "all-reduce" else 1
        return passes * self.bytes * (self.devices - 1) / self.devices


def read_collectives(hlo: str, devices: int) -> list[Collective]:
    """All collectives in the text of a compiled program, in its order.

    Args:
        hlo: of `jax.stages.Compiled.as_text()`.
        devices: of the program; they all take part where an instruction names no groups.
    """
    return [found for line in hlo.splitlines() for found in _of_line(line, devices)]


def _of_line(line: str, devices: int) -> Iterator[Collective]:
    match = _INSTRUCTION.match(line)
    if match is None:
        return
    result, kind, start, rest = match.groups()
    arrays = [_array(*found) for found in _ARRAY.findall(result)]
    if start and kind != "all-reduce":
        # The operands, then as many results; a permutation adds two words of its own.
        arrays = [array for array in arrays if array != ("u32", ())]
        arrays = arrays[len(arrays) // 2 :]
    group = _group(rest) or devices
    origin = _ORIGIN.search(rest)
    for dtype, shape in arrays:
        # Which dimension it is that is scattered does not matter here; the size is right.
        whole = (shape[0] * group, *shape[1:]) if kind == "reduce-scatter" and shape else shape
        yield Collective(kind, dtype, whole, group, origin[1] if origin else "")


def _array(dtype: str, dimensions: str) -> tuple[str, tuple[int, ...]]:
    return dtype, tuple(int(size) for size in dimensions.split(",") if size)


def _group(attributes: str) -> int | None:
    if listed := _LISTED_GROUP.search(attributes):
        return listed[1].count(",") + 1
    counted = _COUNTED_GROUPS.search(attributes)
    return int(counted[1]) if counted else None


def gathered_rows(
    collectives: Iterable[Collective], rows: int, state: Collection[tuple[int, ...]]
) -> list[Collective]:
    """Those by which devices send each other their parts of the batch: there should be none.

    Each computes on its own rows, and gradients, statistics and metrics are all they have to say to
    each other. XLA gathers the whole batch where it finds no other way to split an operation: the
    result is right, at many times the cost.

    Args:
        collectives: of the program.
        rows: of the batch on all devices.
        state: shapes of what may be gathered, though one of its dimensions be as large.
    """
    return [
        found
        for found in collectives
        if found.kind in ("all-gather", "all-to-all")
        and rows in found.shape
        and found.shape not in state
    ]
