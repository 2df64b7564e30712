"""The HLO text of a compiled program as data, from `jax.stages.Compiled.as_text()`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

_ARRAY = re.compile(r"\b([a-z]+\d+[a-z0-9]*|pred)\[([\d,]*)\](?:\{([^}]*)\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?(\S+) \(.*\{$")
# %name = type opcode(operands), attributes
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?(\S+) = (.+?) ([a-z][a-z-]*)\((.*)$")
_NAME = re.compile(r"%([\w.-]+)")
_SPACE = re.compile(r"S\((\d+)\)")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class HloArray:
    """An array of a program.

    Attributes:
        dtype: HLO's name of the dtype, such as "f32".
        shape: its shape.
        space: the memory space that it lies in: 0 is the device's main memory.
    """

    dtype: str
    shape: tuple[int, ...]
    space: int = 0

    @property
    def bytes(self) -> int:
        """Size of the array, without padding."""
        bits = 8 if self.dtype == "pred" else int(_DIGITS.findall(self.dtype)[0])
        return prod(self.shape) * bits // 8


@dataclass(frozen=True)
class Instruction:
    """One instruction of a computation.

    Attributes:
        name: its name, by which others refer to its result.
        opcode: the operation, such as "fusion".
        arrays: what it results in: one array, or the arrays of a tuple, however nested.
        operands: names of the instructions whose results it reads.
        text: the rest of its line, from its operands on.
        is_root: whether its result is that of the computation.
    """

    name: str
    opcode: str
    arrays: tuple[HloArray, ...]
    operands: tuple[str, ...]
    text: str
    is_root: bool

    def called(self, *attributes: str) -> list[str]:
        """Names of the computations that these attributes name, such as "body" of a loop."""
        pattern = rf"\b(?:{'|'.join(attributes)})=(?:\{{([^}}]*)\}}|(%\S+))"
        found = re.findall(pattern, self.text)
        return [name for several, one in found for name in _NAME.findall(several or one)]


@dataclass(frozen=True)
class Program:
    """All computations of a program by name, each in order, and the name of the first to run."""

    computations: dict[str, tuple[Instruction, ...]]
    entry: str


def _read_arrays(types: str) -> list[HloArray]:
    """The arrays that the text of a type names, in order."""
    return [
        HloArray(
            dtype,
            tuple(int(size) for size in dimensions.split(",") if size),
            int(space[1]) if (space := _SPACE.search(layout)) else 0,
        )
        for dtype, dimensions, layout in _ARRAY.findall(types)
    ]


def read_program(hlo: str) -> Program:
    """Parses a whole program.

    Raises:
        ValueError: the text names no computation to begin with, or is not whole.
    """
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", ""
    for line in hlo.splitlines():
        if header := _COMPUTATION.match(line):
            _require_ended(current)
            current = header[2]
            entry = current if header[1] else entry
            computations[current] = []
        elif line.startswith("}"):
            current = ""
        elif current:
            computations[current] += _read_instruction(line)
    if not entry:
        raise ValueError("the text of the program has no ENTRY")
    _require_ended(current)
    return Program({name: tuple(lines) for name, lines in computations.items()}, entry)


def _require_ended(computation: str) -> None:
    """Raises `ValueError` if the lines of a computation go on where they must have ended."""
    if computation:
        raise ValueError(f"the text of the program is not whole: {computation} does not end")


def read_instructions(hlo: str) -> Iterator[Instruction]:
    """Parses the instructions of all computations, in the order of the text."""
    for line in hlo.splitlines():
        yield from _read_instruction(line)


def _read_instruction(line: str) -> Iterator[Instruction]:
    if match := _INSTRUCTION.match(line):
        root, name, types, opcode, rest = match.groups()
        # An operand may be preceded by its type, whose layout has parentheses of its own.
        names = _NAME.findall(rest.partition("), ")[0])
        arrays = tuple(_read_arrays(types))
        yield Instruction(name, opcode, arrays, tuple(names), rest, root is not None)
