"""The collectives of a compiled program, read from its HLO text."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from xception_jax.planning.hlo import HloArray, Instruction, read_instructions

_KINDS = {
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all"),
    *("collective-permute", "collective-broadcast"),
}
_LISTED_GROUP = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_COUNTED_GROUPS = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_ORIGIN = re.compile(r'op_name="([^"]*)"')


@dataclass(frozen=True)
class Collective:
    """One array that devices exchange.

    Attributes:
        kind: kind of collective, such as "all-reduce" or "all-gather".
        dtype: HLO's name of the dtype, such as "f32".
        shape: shape of the operand or of the result on a device, whichever is larger.
        devices: number of devices that exchange the array with each other; 1 sends nothing.
        origin: operation of the traced program that it comes from.
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
        """Size of the array."""
        return HloArray(self.dtype, self.shape).bytes

    @property
    def sent_bytes(self) -> float:
        """Number of bytes that each device sends at least, as in a ring."""
        if self.kind.startswith("collective"):
            return float(self.bytes) * (self.devices > 1)
        passes = 2 if self.kind == "all-reduce" else 1
        return passes * self.bytes * (self.devices - 1) / self.devices


def read_collectives(hlo: str, devices: int) -> list[Collective]:
    """Parses all collectives of a compiled program, in its order.

    Args:
        hlo: text of the program, from `jax.stages.Compiled.as_text()`.
        devices: number of devices, all of which take part if an instruction names no groups.
    """
    return [
        collective
        for instruction in read_instructions(hlo)
        for collective in _collectives(instruction, devices)
    ]


def _collectives(instruction: Instruction, devices: int) -> Iterator[Collective]:
    # Of an asynchronous pair only the start is counted.
    kind, rest = instruction.opcode.removesuffix("-start"), instruction.text
    if kind not in _KINDS:
        return
    arrays = [(array.dtype, array.shape) for array in instruction.arrays]
    if kind not in (instruction.opcode, "all-reduce"):  # a start that lists what it reads
        # The operands, then as many results; a permutation adds two u32 of its own.
        arrays = [array for array in arrays if array != ("u32", ())]
        arrays = arrays[len(arrays) // 2 :]
    group = _group_size(rest) or devices
    origin = _ORIGIN.search(rest)
    for dtype, shape in arrays:
        # Which dimension is scattered does not matter here; the size is right.
        full = (shape[0] * group, *shape[1:]) if kind == "reduce-scatter" and shape else shape
        yield Collective(kind, dtype, full, group, origin[1] if origin else "")


def _group_size(attributes: str) -> int | None:
    if listed := _LISTED_GROUP.search(attributes):
        return listed[1].count(",") + 1
    counted = _COUNTED_GROUPS.search(attributes)
    return int(counted[1]) if counted else None


def gathered_rows(
    collectives: Iterable[Collective], rows: int, state: Collection[tuple[int, ...]]
) -> list[Collective]:
    """The collectives by which devices exchange rows of the batch, of which there should be none.

    Each device computes on its own rows, so that only gradients, statistics and metrics have to be
    exchanged. XLA gathers the whole batch if it finds no other way to split an operation: the
    result is right, at many times the cost.

    Args:
        collectives: collectives of the program.
        rows: number of rows of the batch on all devices.
        state: shapes of arrays of the state, which may be gathered even if a dimension is `rows`.
    """
    return [
        collective
        for collective in collectives
        if collective.kind in ("all-gather", "all-to-all")
        and rows in collective.shape
        and collective.shape not in state
    ]
