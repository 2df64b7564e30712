"""The size that an array_record file unpacks to, from its headers alone.

A file of kilobytes can hold records of gigabytes of zeros, and its reader unpacks a record whole.
The format is Riegeli's: blocks of 64 KiB that begin with a header of their own, and across them
chunks, whose headers state the size of their content before and after it was compressed.
"""

import os
import struct
from pathlib import Path

from xception_jax.regular_files import open_regular

_BLOCK, _BLOCK_HEADER = 1 << 16, 24
# Hash of the header, size of the data, their hash, kind (one byte) and number of records, size of
# the records.
_CHUNK = struct.Struct("<8xQ8xQQ")
_GROWTH, _ALLOWANCE = 20, 1 << 26  # encoded images hardly shrink; small files may well be padding


def require_no_growth(path: Path) -> None:
    """Raises unless the records in a file are at most 20 times as large as it and 64 MiB.

    Raises:
        ValueError: the records are larger, or the file is damaged.
        OSError: the file cannot be read.
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        if unpacked_size(descriptor, size) > _GROWTH * size + _ALLOWANCE:
            raise ValueError(f"{path.name} unpacks to more than {_GROWTH} times its size")
    finally:
        os.close(descriptor)


def unpacked_size(descriptor: int, size: int) -> int:
    """The bytes in all chunks of an open file, as their headers declare them.

    Args:
        descriptor: descriptor of the file.
        size: size of the file, bytes.

    Raises:
        ValueError: the chunks do not fill the file.
    """
    total = position = 0
    while position < size:
        data, kind_and_records, unpacked = _CHUNK.unpack(_read_header(descriptor, position))
        total += unpacked
        after_data = _add(position, _CHUNK.size + data)
        position = max(after_data, _next_start(position + (kind_and_records >> 8)))
    if position > size:
        raise ValueError("ends in the middle of a chunk")
    return total


def _read_header(descriptor: int, position: int) -> bytes:
    """Reads the header of a chunk, which may lie on both sides of a block's header."""
    header = b""
    while len(header) < _CHUNK.size:
        position += max(0, _BLOCK_HEADER - position % _BLOCK)
        part = os.pread(
            descriptor, min(_CHUNK.size - len(header), _BLOCK - position % _BLOCK), position
        )
        if not part:
            raise ValueError("ends in the middle of a header")
        header, position = header + part, position + len(part)
    return header


def _add(position: int, count: int) -> int:
    """The position after `count` bytes of chunks, the headers of the blocks between them added."""
    usable = _BLOCK - _BLOCK_HEADER
    blocks = (count + (position + usable - 1) % _BLOCK) // usable
    return position + count + blocks * _BLOCK_HEADER


def _next_start(position: int) -> int:
    """The first position from `position` on at which a chunk can begin."""
    offset = position % _BLOCK
    return position + _BLOCK_HEADER - offset if 0 < offset < _BLOCK_HEADER else position
