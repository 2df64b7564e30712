"""Safe reading of untrusted HDF5 files: plain numeric arrays and lists of names, nothing else.

The whole structure of a file is checked, along hard links only, before anything in it is read.
Refused are soft and external links, virtual and externally stored arrays, filters that would load a
plugin, references and other objects, and sizes over the limits below and in `tensors`.
"""

import io
import math
import mmap
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xception_jax.errors import InputError
from xception_jax.pretrained.tensors import (
    MAX_TENSOR_BYTES,
    MAX_TENSORS,
    Tensor,
    readable,
    require_small,
)
from xception_jax.regular_files import open_for_reading

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_DEPTH = 16
MAX_ATTRIBUTE_BYTES = 2**20
MAX_TEXT_BYTES = 2**29  # of all texts, and of a list by what the longest of all strings may have
MAX_CHUNK_BYTES = 256 * 2**20
# gzip, shuffle, Fletcher-32 and LZF: part of h5py, no plugins.
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_LZF,
}

# The heaps in which strings of variable length are: a signature, a version, three bytes that HDF5
# does not look at, and the size.
_HEAP = re.compile(rb"GCOL\x01(?=.{3}(.{8}))", re.DOTALL)
_PACKING = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF)
_GROWTH_OF_LZF = 90  # at most: three bytes stand for up to 264


@dataclass
class Contents:
    """The checked contents of an open HDF5 file.

    Attributes:
        path: path of the file, for messages.
        file: the open `h5py.File`.
        tensors: all arrays by full name, without the leading slash.
        groups: full names of all groups; "" is the root.
        raw: the open file that is read instead of `path`, if it is another.
        text_bytes: of all texts that were read so far.
    """

    path: Path
    file: Any
    tensors: dict[str, Tensor]
    groups: frozenset[str]
    raw: io.BytesIO | None = None
    text_bytes: int = 0

    @cached_property
    def longest_string(self) -> int:
        """No string of variable length in the file has more bytes than this."""
        if self.raw is not None:
            return _largest_heap(self.raw.getbuffer())
        with (
            open_for_reading(self.path) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return _largest_heap(content)

    def text(self, group: str, attribute: str) -> str | None:
        """A group's attribute if it is a single string, else None."""
        values = self.texts(group, attribute)
        return values[0] if values is not None and len(values) == 1 else None

    def texts(self, group: str, attribute: str) -> list[str] | None:
        """A group's attribute as a list of strings; None if there is no such attribute.

        Keras splits a list that is too long for one attribute into `name0`, `name1`, …

        Raises:
            InputError: the attribute is not a list of strings.
        """
        with readable(self.path, f"{group}@{attribute}"):
            attributes = (self.file[group] if group else self.file).attrs
            if attribute in attributes:
                return _strings(self, f"{group}@{attribute}", attributes, attribute)
            parts: list[str] = []
            number = 0
            while (name := f"{attribute}{number}") in attributes:
                parts += _strings(self, f"{group}@{name}", attributes, name)
                number += 1
            return parts if number else None


@contextmanager
def open_file(path: Path, file: io.BytesIO | None = None) -> Iterator[Contents]:
    """Opens an HDF5 file for the duration of the context and checks its structure.

    Args:
        path: path of the file, also for messages.
        file: open file to read instead of `path`, such as a member of an archive.

    Raises:
        InputError: the file is damaged, or holds something that is refused.
    """
    with readable(path):
        handle = h5py.File(path if file is None else file, "r")
    with handle:
        with readable(path):
            if handle.id.get_create_plist().get_sizes() != (8, 8):
                raise ValueError("its addresses or lengths have other than 8 bytes")
            tensors, groups = _walk(path, handle)
        yield Contents(path, handle, tensors, groups, file)


def _walk(path: Path, root: Any) -> tuple[dict[str, Tensor], frozenset[str]]:
    """Checks all objects of a file; returns its arrays and the names of its groups."""
    tensors: dict[str, Tensor] = {}
    groups = {""}
    pending = [("", root)]
    while pending:
        prefix, group = pending.pop()
        for name in group:
            full = f"{prefix}/{name}" if prefix else name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InputError("weights", str(path), f"{full} is a link; links are not followed")
            item = group[name]
            if isinstance(item, h5py.Dataset):
                tensors[full] = _tensor(path, full, item)
            elif isinstance(item, h5py.Group):
                groups.add(full)
                pending.append((full, item))
            else:
                raise InputError("weights", str(path), f"{full} is neither a group nor an array")
            if full.count("/") > MAX_DEPTH or len(tensors) + len(groups) > MAX_TENSORS:
                reason = f"more than {MAX_DEPTH} groups deep or {MAX_TENSORS:,} objects wide"
                raise InputError("weights", str(path), reason)
    return tensors, frozenset(groups)


def _tensor(path: Path, name: str, dataset: Any) -> Tensor:
    def refuse(reason: str) -> InputError:
        return InputError("weights", str(path), f"{name} {reason}")

    if dataset.external or dataset.is_virtual:
        raise refuse("is stored in another file; only whole files are read")
    if dataset.shape is None or dataset.dtype.kind not in "fiub" or dataset.dtype.hasobject:
        raise refuse("is not an array of numbers")
    shape = tuple(map(int, dataset.shape))
    require_small(path, name, shape, dataset.dtype)
    filters = dataset.id.get_create_plist()
    for index in range(filters.get_nfilters()):
        code, *_, label = filters.get_filter(index)
        if code not in _FILTERS:
            raise refuse(f"is packed with the filter {label.decode(errors='replace')!r}")
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        raise refuse(f"is packed in chunks over {MAX_CHUNK_BYTES:,} bytes")

    def read() -> np.ndarray:
        _require_stored(path, name, dataset)
        with readable(path, name):
            _require_bounded(dataset)
            return np.asarray(dataset[()])

    return Tensor(name, shape, dataset.dtype, read)


def _require_stored(path: Path, name: str, dataset: Any) -> None:
    """Raises `InputError` if data is missing, which HDF5 would read as zeros."""
    if dataset.chunks:
        pairs = zip(dataset.shape, dataset.chunks, strict=True)
        expected = math.prod(-(-length // chunk) for length, chunk in pairs)
        complete = dataset.id.get_num_chunks() == expected
    else:
        complete = dataset.id.get_storage_size() >= dataset.size * dataset.dtype.itemsize
    if not complete:
        raise InputError("weights", str(path), f"{name} declares more than is stored of it")


def _require_bounded(dataset: Any) -> None:
    """Raises `ValueError` for a chunk that unpacks to more than it holds.

    HDF5 unpacks a chunk whole, whatever comes of it, before it looks at its size.
    """
    filters = dataset.id.get_create_plist()
    codes = [filters.get_filter(index)[0] for index in range(filters.get_nfilters())]
    packing = [code for code in codes if code in _PACKING]
    if not dataset.chunks or not packing:
        return
    if len(packing) > 1 or set(codes[codes.index(packing[0]) + 1 :]) - {h5py.h5z.FILTER_FLETCHER32}:
        raise ValueError("is packed more than once")
    holds = math.prod(dataset.chunks) * dataset.dtype.itemsize
    for index in range(dataset.id.get_num_chunks()):
        chunk = dataset.id.get_chunk_info(index)
        if packing == [h5py.h5z.FILTER_LZF]:
            fits = chunk.size * _GROWTH_OF_LZF <= MAX_TENSOR_BYTES
        else:
            unpacker = zlib.decompressobj()
            skipped, packed = dataset.id.read_direct_chunk(chunk.chunk_offset)
            is_packed = not skipped >> codes.index(packing[0]) & 1
            fits = not is_packed or len(unpacker.decompress(packed, holds + 1)) <= holds
        if not fits:
            raise ValueError("has a chunk that unpacks to more than it should hold")


def _largest_heap(content: mmap.mmap | memoryview) -> int:
    """The size of the largest heap of strings; what only looks like one is larger than the file."""
    sizes = (int.from_bytes(found[1], "little") for found in _HEAP.finditer(content))
    return max((size for size in sizes if size <= len(content)), default=0)


def _strings(contents: Contents, name: str, attributes: Any, attribute: str) -> list[str]:
    with readable(contents.path, name):
        stored = attributes.get_id(attribute)
        count = math.prod(stored.shape or ())
        # Keras writes the empty list as an array of float64.
        is_text = count == 0 or h5py.check_string_dtype(stored.dtype) is not None
        is_small = count * max(stored.dtype.itemsize, 1) <= MAX_ATTRIBUTE_BYTES
        # Strings of variable length tell theirs when they are read, and all may be the same one.
        if is_text and is_small and stored.dtype.hasobject and count > 1:
            is_small = count * contents.longest_string <= MAX_TEXT_BYTES
        if not (is_text and is_small):
            raise InputError("weights", str(contents.path), f"{name} is not a short list of names")
        values = np.ravel(attributes[attribute]).tolist()
        texts = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
        contents.text_bytes += sum(map(len, texts))
        if contents.text_bytes > MAX_TEXT_BYTES:  # names can all refer to one long string
            reason = f"its names and texts have over {MAX_TEXT_BYTES:,} bytes"
            raise InputError("weights", str(contents.path), reason)
        return texts
