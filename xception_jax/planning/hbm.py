"""The HBM traffic of a compiled TPU program, counted from its HLO text.

The compiler's own figure, "bytes accessed", is larger: it has the traffic of the memory on the chip
too (VMEM), to which the compiler moves arrays ahead of their use, and counts such a move three
times.
"""

from xception_jax.errors import one_line
from xception_jax.planning.hlo import Instruction, Program, read_program

# These move nothing, or are given by what other instructions move.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("opt-barrier", "partition-id", "replica-id"),
}
# Neither do these, but what they call does.
_CONTROL = ("while", "conditional", "call", "async-start", "async-update")
_CALLED = (
    *("body", "condition", "to_apply", "calls"),
    *("branch_computations", "true_computation", "false_computation"),
)
_MOVES = ("copy-start", "slice-start")
_READ_PART = ("slice", "dynamic-slice", "gather")  # of their first operand


def hbm_bytes(hlo: str) -> int:
    """Bytes that a device reads from its HBM and writes to it in one execution of a program.

    Each instruction reads the operands and writes the results that lie in HBM, whole or, where it
    takes a slice or updates one, in part. The padding of arrays is not counted. Of a loop, one
    iteration is counted, and of a conditional the branch that moves most.

    Args:
        hlo: text of the program, from `jax.stages.Compiled.as_text()`.

    Raises:
        ValueError: the text is that of no program, or not all of it.
    """
    program = read_program(hlo)
    try:
        return _computation_bytes(program, program.entry)
    except (LookupError, RecursionError) as error:
        raise ValueError(f"the text of the program is not whole: {one_line(error)}") from error


def _computation_bytes(program: Program, name: str) -> int:
    instructions = program.computations[name]
    by_name = {instruction.name: instruction for instruction in instructions}
    total = 0
    for instruction in instructions:
        if instruction.opcode in _CONTROL:
            called = instruction.called(*_CALLED)
            parts = [_computation_bytes(program, computation) for computation in called]
            total += max(parts) if instruction.opcode == "conditional" else sum(parts)
        else:
            total += _moved_bytes(program, by_name, instruction)
    return total


def _moved_bytes(
    program: Program, by_name: dict[str, Instruction], instruction: Instruction
) -> int:
    """Bytes that one instruction moves to and from HBM."""
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith("-done") or "ConcatBitcast" in instruction.text:
        return 0
    operands = [by_name[name] for name in instruction.operands]
    if opcode in _MOVES:
        return _copied_bytes(operands[0], instruction)
    if opcode == "fusion":
        (fused,) = instruction.called("calls")
        return _fusion_bytes(operands, instruction, program.computations[fused])
    if opcode == "dynamic-update-slice":  # in place
        return 2 * _hbm_size(operands[1])
    read_part = opcode in _READ_PART
    read = sum(_hbm_size(operand) for operand in operands[read_part:])
    if read_part and _hbm_size(operands[0]):
        read += sum(array.bytes for array in instruction.arrays)
    return read + _hbm_size(instruction)


def _hbm_size(instruction: Instruction) -> int:
    """Size of those results of an instruction that lie in HBM."""
    return sum(array.bytes for array in instruction.arrays if array.space == 0)


def _copied_bytes(source: Instruction, copy: Instruction) -> int:
    """Bytes of HBM that a copy or the copy of a slice reads and writes.

    Its results are the source, the copy and a flag, in an order that depends on the opcode.
    """
    (origin,) = source.arrays
    results = [array for array in copy.arrays if array.shape]
    if origin in results:
        results.remove(origin)
    return results[0].bytes * ((origin.space == 0) + (results[0].space == 0))


def _fusion_bytes(
    operands: list[Instruction], fusion: Instruction, fused: tuple[Instruction, ...]
) -> int:
    parameters = [instruction for instruction in fused if instruction.opcode == "parameter"]
    parameters.sort(key=_parameter_index)
    total = 0
    for operand, parameter in zip(operands, parameters, strict=True):
        if _hbm_size(operand):
            users = [user for user in fused if parameter.name in user.operands]
            total += min(_hbm_size(operand), sum(_read_bytes(user, parameter) for user in users))
    updates = [part for part in fused if part.is_root and part.opcode == "dynamic-update-slice"]
    if updates:
        (update,) = (part for part in fused if part.name == updates[0].operands[1])
        return total + sum(array.bytes for array in update.arrays)
    return total + _hbm_size(fusion)


def _parameter_index(parameter: Instruction) -> int:
    return int(parameter.text.partition(")")[0])


def _read_bytes(user: Instruction, parameter: Instruction) -> int:
    """Bytes of a fused computation's parameter that an instruction of it reads."""
    is_first = user.operands[0] == parameter.name
    if is_first and user.opcode in _READ_PART:
        return sum(array.bytes for array in user.arrays)
    if is_first and user.opcode == "dynamic-update-slice":
        return 0
    return sum(array.bytes for array in parameter.arrays)
