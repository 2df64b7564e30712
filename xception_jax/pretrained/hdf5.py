"""HDF5 files of strangers: plain arrays of numbers and lists of names, and nothing else.

A file is walked once, along hard links only, before anything in it is read. Refused are soft and
external links, virtual and externally stored arrays, filters that would load a plugin, references
and other objects, and sizes over the limits below and in `tensors`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from xception_jax.errors import InputError
from xception_jax.pretrained.tensors import MAX_TENSORS, Tensor, damaged, require_small

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_DEPTH = 16
MAX_ATTRIBUTE_BYTES = 2**20
MAX_CHUNK_BYTES = 256 * 2**20
_FILTERS = {"gzip", "shuffle", "fletcher32", "lzf"}


@dataclass(frozen=True)
class Contents:
    """An open file.

    Attributes:
        path: of the file, for messages.
        tensors: every array, by its name from the root, without the leading slash.
        groups: the names of all groups; "" is the root.
    """

    path: Path
    file: Any
    tensors: dict[str, Tensor]
    groups: frozenset[str]

    def text(self, group: str, attribute: str) -> str | None:
        """A group's attribute that is one string; None: there is none."""
        values = self.texts(group, attribute)
        return values[0] if values is not None and len(values) == 1 else None

    def texts(self, group: str, attribute: str) -> list[str] | None:
        """A group's attribute that is a list of strings; None: there is none.

        Keras splits a list that is too long for one attribute over `name0`, `name1`, …

        Raises:
            InputError: it is something else.
        """
        attributes = (self.file[group] if group else self.file).attrs
        if attribute in attributes:
            return _strings(self.path, f"{group}@{attribute}", attributes, attribute)
        parts: list[str] = []
        number = 0
        while (name := f"{attribute}{number}") in attributes:
            parts += _strings(self.path, f"{group}@{name}", attributes, name)
            number += 1
        return parts if number else None


@contextmanager
def opened(path: Path, file: IO[bytes] | None = None) -> Iterator[Contents]:
    """Walks an HDF5 file; it stays open for reading inside the context.

    Args:
        path: where it is, or what to call it.
        file: its bytes, if it does not lie at `path`.

    Raises:
        InputError: it is damaged, or holds what is refused.
    """
    try:
        handle = h5py.File(path if file is None else file, "r")
    except Exception as error:  # h5py raises many kinds on damage; each means the file is no use
        raise damaged(path, error) from error
    with handle:
        try:
            tensors, groups = _walk(path, handle)
        except InputError:
            raise
        except Exception as error:
            raise damaged(path, error) from error
        yield Contents(path, handle, tensors, groups)


def _walk(path: Path, root: Any) -> tuple[dict[str, Tensor], frozenset[str]]:
    tensors: dict[str, Tensor] = {}
    groups = {""}
    waiting = [("", root)]
    while waiting:
        prefix, group = waiting.pop()
        for name in group:
            full = f"{prefix}/{name}" if prefix else name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InputError("weights", str(path), f"{full} is a link; links are not followed")
            item = group[name]
            if isinstance(item, h5py.Dataset):
                tensors[full] = _tensor(path, full, item)
            elif isinstance(item, h5py.Group):
                groups.add(full)
                waiting.append((full, item))
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
        if _FILTER_NAMES.get(code) not in _FILTERS:
            raise refuse(f"is packed with the filter {label.decode(errors='replace')!r}")
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        raise refuse(f"is packed in chunks over {MAX_CHUNK_BYTES:,} bytes")

    def read() -> np.ndarray:
        _require_stored(path, name, dataset)
        try:
            return np.asarray(dataset[()])
        except Exception as error:
            raise damaged(path, f"{name}: {type(error).__name__}: {error}") from error

    return Tensor(name, shape, dataset.dtype, read)


_FILTER_NAMES = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    h5py.h5z.FILTER_LZF: "lzf",
}


def _require_stored(path: Path, name: str, dataset: Any) -> None:
    """HDF5 reads what was never written as zeros: here that is a damaged file."""
    if dataset.chunks:
        pairs = zip(dataset.shape, dataset.chunks, strict=True)
        expected = math.prod(-(-length // chunk) for length, chunk in pairs)
        whole = dataset.id.get_num_chunks() == expected
    else:
        whole = dataset.id.get_storage_size() >= dataset.size * dataset.dtype.itemsize
    if not whole:
        raise InputError("weights", str(path), f"{name} declares more than is stored of it")


def _strings(path: Path, name: str, attributes: Any, attribute: str) -> list[str]:
    try:
        described = attributes.get_id(attribute)
        kind = described.dtype
        text = kind.kind == "S" or h5py.check_string_dtype(kind) is not None
        size = math.prod(described.shape or ()) * max(kind.itemsize, 1)
        # Keras writes the empty list as an array of float64.
        if not (text or math.prod(described.shape) == 0) or size > MAX_ATTRIBUTE_BYTES:
            raise InputError("weights", str(path), f"{name} is not a short list of names")
        values = np.ravel(attributes[attribute]).tolist()
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    except InputError:
        raise
    except Exception as error:
        raise damaged(path, f"{name}: {type(error).__name__}: {error}") from error
