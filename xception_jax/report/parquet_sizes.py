"""The size that a Parquet file unpacks to, from its headers alone.

A file of kilobytes can hold pages of gigabytes of zeros, and Polars unpacks a page whole. What the
footer says of their size binds nobody, so the header of every page is read. Headers are structures
of Thrift's compact protocol.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MAGIC = b"PAR1"
_MOST_FOOTER = 1 << 22  # bytes; that of four million rows in a hundred columns has 0.2 million
_MOST_PAGES = 1 << 16
# Plain, with a dictionary (old and new), in runs. Others, which write differences of neighbours,
# make much of nothing; Polars writes none of them.
_ENCODINGS = (0, 2, 3, 8)
_DICTIONARY_PAGE = 2
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_WHOLE_NUMBERS = (4, 5, 6)

Structure = dict[int, Any]
"""A structure of Thrift: values by the number of their field."""


def require_bounded(content: bytes, *, rows: int, unpacked: int) -> None:
    """Raises unless a Parquet file of flat columns is whole and within limits.

    Args:
        content: the file.
        rows: limit of the number of rows.
        unpacked: limit of the size of all pages, bytes.

    Raises:
        ValueError: it is over a limit, or has an encoding that can grow without end.
        Exception: it is damaged; of many kinds.
    """
    footer = _footer(content)
    if not 0 <= (total := footer[3]) <= rows:
        raise ValueError(f"it has {total:,} rows; the limit is {rows:,}")
    left, counted = unpacked, 0
    groups = footer[4]
    if sum(group[3] for group in groups) != total or min((g[3] for g in groups), default=0) < 0:
        raise ValueError("its groups have other numbers of rows than it declares")
    for group in groups:
        for column in group[1]:
            values = 0
            for page in _pages(content, column):
                counted += 1
                left -= page.unpacked
                values += page.values
                if left < 0:
                    raise ValueError(f"it unpacks to more than {unpacked:,} bytes")
                if counted > _MOST_PAGES:
                    raise ValueError(f"it has more than {_MOST_PAGES:,} pages")
            if values != group[3]:
                raise ValueError("a column has another number of values than there are rows")


@dataclass(frozen=True)
class _Page:
    """A page: its size once unpacked, bytes, and how many values it adds to its column."""

    unpacked: int
    values: int


def _footer(content: bytes) -> Structure:
    end = len(content) - 8
    size = int.from_bytes(content[-8:-4], "little")
    if end < 4 or content[-4:] != _MAGIC or not 0 < size <= min(end - 4, _MOST_FOOTER):
        raise ValueError("it has no footer of Parquet")
    return _Reader(content, end - size, end).structure()


def _pages(content: bytes, column: Structure) -> Iterator[_Page]:
    """The pages of a column in one group of rows, which lie one behind the other."""
    facts = column[3]
    if 1 in column:
        raise ValueError("a column lies in another file")
    start = facts.get(11, facts[9])  # of its dictionary if it has one, else of its data
    end = start + facts[7]
    if not 0 <= start <= end <= len(content):
        raise ValueError("a column lies outside of the file")
    while start < end:
        reader = _Reader(content, start, end)
        header = reader.structure()
        unpacked, packed = header[2], header[3]
        about = next((header[field] for field in (5, 7, 8) if field in header), None)
        if about is None or unpacked < 0 or not 0 <= packed <= end - reader.position:
            raise ValueError("a page has no valid header")
        encoding = about[4] if 8 in header else about[2]
        if encoding not in _ENCODINGS:
            raise ValueError(f"a page has the encoding {encoding}")
        yield _Page(unpacked, 0 if header[1] == _DICTIONARY_PAGE else about[1])
        start = reader.position + packed


class _Reader:
    """Reads structures of Thrift's compact protocol between two positions.

    Its methods raise `ValueError` or `IndexError` where the bytes are no such structure.
    """

    def __init__(self, content: bytes, position: int, end: int) -> None:
        self._content, self.position, self._end = content, position, end

    def structure(self) -> Structure:
        """Reads a structure."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 0xF)
        return _Fields(fields)

    def _value(self, kind: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in _WHOLE_NUMBERS:
            return self._signed()
        if kind == _STRUCT:
            return self.structure()
        if kind in (_LIST, _SET):
            return self._list()
        if kind not in (_BYTE, _DOUBLE, _BINARY):
            raise ValueError(f"a header has a field of type {kind}")
        self._skip({_BYTE: 1, _DOUBLE: 8}.get(kind) or self._unsigned())
        return None

    def _list(self) -> list[Any]:
        head = self._byte()
        count, kind = head >> 4, head & 0xF
        if count == 0xF:
            count = self._unsigned()
        if kind in (_TRUE, _FALSE):  # in a list each has a byte of its own
            kind = _BYTE
        return [self._value(kind) for _ in range(count)]

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a header has a number of too many digits")
        return value | byte << shift

    def _byte(self) -> int:
        self._skip(1)
        return self._content[self.position - 1]

    def _skip(self, count: int) -> None:
        self.position += count
        if self.position > self._end:
            raise ValueError("a header ends in the middle")


class _Fields(dict[int, Any]):
    """The fields of a structure; one that is missing makes the file a damaged one."""

    def __missing__(self, number: int) -> Any:
        raise ValueError(f"a header has no field {number}")
