"""Reading numeric arrays out of MATLAB files of version 5, such as SVHN's.

SciPy's reader trusts the sizes in a file, and a damaged one can end the process. Here every part is
looked up inside of what there is.
"""

import math
import struct
import zlib

import numpy as np

_HEADER = 128  # bytes; the last two say the byte order
_INT32, _UINT32, _MATRIX, _COMPRESSED = 5, 6, 14, 15
_DTYPES = {
    1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8",
    13: "<u8",
}  # fmt: skip
_NUMERIC = range(6, 16)  # classes of arrays; the others are cells, structures, text and sparse
_COMPLEX = 0x0800


def read_arrays(content: bytes, most: int) -> dict[str, np.ndarray]:
    """Reads the numeric arrays of a file by name; each has the type in which it is stored.

    Args:
        content: the file, little-endian.
        most: limit of what an array may unpack to, bytes.

    Raises:
        ValueError: the file is damaged or too large, or holds something else.
    """
    if content[126:128] != b"IM":
        raise ValueError("has no header of version 5 in little-endian order")
    arrays, rest = {}, memoryview(content)[_HEADER:]
    while rest:
        kind, data, rest = _element(rest)
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(data, most)
            if not unpacker.eof:
                raise ValueError(f"is cut, or unpacks to more than {most:,} bytes")
            kind, data, _ = _element(memoryview(unpacked))
        if kind != _MATRIX:
            raise ValueError(f"holds an element of kind {kind}")
        name, array = _array(data)
        arrays[name] = array
    return arrays


def _element(data: memoryview) -> tuple[int, memoryview, memoryview]:
    """The kind and content of the first element, and what comes after it."""
    if len(data) < 8:
        raise ValueError("ends in the middle of an element")
    kind, size = struct.unpack("<II", data[:8])
    if small := kind >> 16:  # up to four bytes take the place of the size
        kind, size, start, end = kind & 0xFFFF, small, 4, 8
    else:
        start, end = 8, 8 + size
        end += 0 if kind == _COMPRESSED else -size % 8
    if start + size > min(end, len(data)):
        raise ValueError("declares an element that is larger than what there is")
    return kind, data[start : start + size], data[end:]


def _array(data: memoryview) -> tuple[str, np.ndarray]:
    flags_kind, flags, data = _element(data)
    shape_kind, shape, data = _element(data)
    _, name, data = _element(data)
    if (flags_kind, len(flags), shape_kind) != (_UINT32, 8, _INT32) or len(shape) % 4:
        raise ValueError("holds an array without flags or shape")
    (flag,) = struct.unpack("<I", flags[:4])
    kind, values, _ = _element(data)
    if flag & 0xFF not in _NUMERIC or flag & _COMPLEX or kind not in _DTYPES:
        raise ValueError("holds something else than real numbers")
    lengths = struct.unpack(f"<{len(shape) // 4}i", shape)
    array = np.frombuffer(values, _DTYPES[kind])
    if min(lengths, default=-1) < 0 or math.prod(lengths) != len(array):
        raise ValueError(f"holds {len(array)} numbers for the shape {lengths}")
    return bytes(name).decode("latin-1"), array.reshape(lengths, order="F")
