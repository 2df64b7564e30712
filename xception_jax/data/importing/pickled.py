"""Reading plain data and NumPy arrays out of a pickle without running what it says.

A pickle is a program that may call any function. This reader follows its instructions as far as
they make numbers, text, lists, dictionaries and arrays. It looks up no name and calls nothing: the
few names with which NumPy describes an array are known to it, and any other is an error.
"""

import pickletools
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xception_jax.regular_files import MAX_BYTES

_PUSH = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_TEXT_OF_PYTHON_2 = {"BINSTRING", "SHORT_BINSTRING"}  # in Python 3 these are bytes
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_SIZES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_TYPE = re.compile(r"[<|=]?[iu][1248]")
_MODULES = re.compile(r"numpy(\._?core\.(multiarray|numeric))?")
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """A name in the pickle, which is compared and never looked up."""

    module: str
    name: str


@dataclass
class _Array:
    """An array, which a pickle first creates empty and then fills."""

    value: np.ndarray | None = None


@dataclass
class _Machine:
    """The state of a pickle's program."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    made: int = 0  # bytes of the values that calls have made

    def since_mark(self) -> list[Any]:
        """Takes the values above the last mark off the stack, and the mark."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]


def read_pickle(content: bytes) -> dict[str, Any]:
    """Reads a dictionary of plain data and integer arrays from a pickle of protocol 2 to 5.

    Args:
        content: the pickle.

    Returns:
        The dictionary; keys that are bytes (text of Python 2) are decoded.

    Raises:
        ValueError: the pickle is damaged, holds anything else, or calls any function.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                break
            _follow(machine, opcode.name, argument)
        (result,) = machine.stack
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"is no pickle of plain data: {error}") from error
    if not isinstance(result, dict):
        raise ValueError("is no pickle of a dictionary")
    return {
        key.decode("latin-1") if isinstance(key, bytes) else str(key): (
            value.value if isinstance(value, _Array) else value
        )
        for key, value in result.items()
    }


def _follow(machine: _Machine, code: str, argument: Any) -> None:  # noqa: PLR0912 - one for each
    """Follows one instruction."""
    stack, memo = machine.stack, machine.memo
    if code in _PUSH:
        stack.append(argument)
    elif code in _TEXT_OF_PYTHON_2:
        stack.append(argument.encode("latin-1"))
    elif code in _CONSTANTS:
        stack.append(_CONSTANTS[code])
    elif code in ("EMPTY_DICT", "EMPTY_LIST"):
        stack.append({} if code == "EMPTY_DICT" else [])
    elif code == "MARK":
        stack.append(_MARK)
    elif code in _SIZES:
        stack[-_SIZES[code] :] = [tuple(stack[-_SIZES[code] :])]
    elif code == "TUPLE":
        stack.append(tuple(machine.since_mark()))
    elif code in ("APPEND", "APPENDS"):
        values = [stack.pop()] if code == "APPEND" else machine.since_mark()
        stack[-1].extend(values)
    elif code in ("SETITEM", "SETITEMS"):
        pairs = [stack.pop(-2), stack.pop()] if code == "SETITEM" else machine.since_mark()
        if not all(isinstance(key, (str, bytes, int)) for key in pairs[::2]):
            # Of a tuple of tuples of the same tuples, the hash alone would take for ever.
            raise ValueError("has a key that is neither text nor a number")
        stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
    elif code in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
        memo[len(memo) if argument is None else argument] = stack[-1]
    elif code in ("BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif code == "GLOBAL":
        stack.append(_Name(*argument.split(" ")))
    elif code == "STACK_GLOBAL":
        stack[-2:] = [_Name(*map(_text, stack[-2:]))]
    elif code == "REDUCE":
        stack[-2:] = [_made(*stack[-2:])]
        machine.made += len(stack[-1]) if isinstance(stack[-1], bytes) else 0
        if machine.made > MAX_BYTES:
            raise ValueError(f"makes more than {MAX_BYTES:,} bytes")
    elif code == "BUILD":
        _fill(stack[-2], stack.pop())
    elif code not in ("PROTO", "FRAME"):
        raise ValueError(f"has the instruction {code}, which plain data do not need")


def _made(name: Any, arguments: Any) -> Any:
    """What a call makes, if it is one of those by which NumPy describes an array.

    Raises:
        ValueError: it is any other.
    """
    if not isinstance(name, _Name):
        raise ValueError("calls what is no name")
    if name == _Name("_codecs", "encode"):  # bytes, in protocol 2 of Python 3
        text, encoding = arguments
        if encoding == "latin1":
            return text.encode("latin-1")
    if _MODULES.fullmatch(name.module):
        if name.name == "_reconstruct":
            return _Array()
        if name.name == "dtype" and _TYPE.fullmatch(_text(arguments[0])):
            return np.dtype(_text(arguments[0]))
        if name.name == "_frombuffer":
            buffer, kind, shape, order = arguments
            _require_dtype(kind)
            return _Array(np.frombuffer(buffer, kind).reshape(shape, order=order))
        if name.name == "scalar":
            _require_dtype(arguments[0])
            return int(np.frombuffer(arguments[1], arguments[0])[0])
    raise ValueError(f"calls {name.module}.{name.name}, which was not run")


def _fill(made: Any, state: Any) -> None:
    """Fills an array with its shape, type and content; a type has only its byte order."""
    if isinstance(made, np.dtype):
        if _text(state[1]) not in "<|=":
            raise ValueError(f"has numbers in the byte order {_text(state[1])!r}")
    elif isinstance(made, _Array):
        _, shape, kind, by_column, buffer = state
        _require_dtype(kind)
        flat = np.frombuffer(buffer, kind)
        made.value = flat.reshape(shape, order="F" if by_column else "C")
    else:
        raise ValueError(f"fills a {type(made).__name__}")


def _require_dtype(kind: Any) -> None:
    if not isinstance(kind, np.dtype):
        raise ValueError("has an array of something else than numbers")


def _text(value: Any) -> str:
    """Text of either kind; anything else is not shown, for it may be as large as it likes."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise ValueError(f"has a {type(value).__name__} in place of text")
    return value
