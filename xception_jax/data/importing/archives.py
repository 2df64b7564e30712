"""Reading the files in a directory, a tar or a zip one by one; nothing is unpacked onto the disk.

Archives come from strangers. Names that lead outside of the archive, links, devices and sparse
files are refused, and an archive that grows to far more than its size is read only so far.
"""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from xception_jax.data.folder import is_hidden
from xception_jax.errors import InputError, one_line
from xception_jax.regular_files import MAX_BYTES, open_for_reading, read_regular
from xception_jax.zip_members import BOUNDED_METHODS, read_member

FIELD = "--from"
_GROWTH = 20  # photos hardly shrink in an archive, and lists of labels do not by more
_BLOCK = 512  # of a tar, bytes
_OPENERS: dict[bytes, Callable[[io.BufferedReader], Any]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,  # of zipfile: a password; NotImplementedError: an unknown method
    ValueError,
    MemoryError,  # of a header that declares more than there is
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Member:
    """A regular file in a directory or an archive.

    Attributes:
        name: relative path, with slashes.
        read: reads its content; to be called before the next member is asked for.
    """

    name: str
    read: Callable[[], bytes]


def members(path: Path) -> Iterator[Member]:
    """Yields the regular files in a directory, a tar (compressed or not) or a zip.

    Hidden files, and those that systems leave, are skipped. Of a directory, files are sorted.

    Raises:
        InputError: the archive is none or damaged, unpacks to far more than its size, or holds a
            name that leads out of it, a link, a device or a sparse file.
    """
    found = _in_directory(path) if path.is_dir() else _in_archive(path)
    with readable(path):
        for member in found:
            if not is_hidden(PurePosixPath(member.name).parts):
                yield Member(member.name, partial(_read, path, member))


def members_of_tar(content: bytes, name: str) -> Iterator[Member]:
    """Yields the regular files in a tar that lies in another one; see `members`."""
    with readable(Path(name)):
        for member in _in_tar(io.BytesIO(content), "r:", name):
            yield Member(member.name, partial(_read, Path(name), member))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what readers of archives raise into an `InputError` that names the archive."""
    try:
        yield
    except InputError:  # a ValueError itself, which says what is wrong
        raise
    except _ERRORS as error:
        raise InputError(FIELD, str(path), f"cannot be read: {one_line(error)}") from error


def _read(archive: Path, member: Member) -> bytes:
    with readable(archive / member.name):
        return member.read()


def _in_directory(root: Path) -> Iterator[Member]:
    visited = set()

    def stop(error: OSError) -> None:  # by itself, `walk` passes over what it may not read
        raise error

    for place, folders, files in os.walk(root, onerror=stop, followlinks=True):
        facts = os.stat(place)  # noqa: PTH116 - `os.walk` gives text
        if (facts.st_dev, facts.st_ino) in visited:  # by a link to a folder above it
            folders.clear()
            continue
        visited.add((facts.st_dev, facts.st_ino))
        folders.sort()
        for file in sorted(files):
            path = Path(place, file)
            yield Member(path.relative_to(root).as_posix(), partial(read_regular, path))


def _in_archive(path: Path) -> Iterator[Member]:
    with open_for_reading(path) as raw:
        start = raw.peek(8)
        most = MAX_BYTES + _GROWTH * os.fstat(raw.fileno()).st_size
        opener = next((open_ for magic, open_ in _OPENERS.items() if start.startswith(magic)), None)
        if start.startswith(b"PK"):
            yield from _in_zip(raw, most, str(path))
        elif opener is None:
            yield from _in_tar(raw, "r:", str(path))
        else:
            yield from _in_tar(_Bounded(opener(raw), most), "r|", str(path))


class _Bounded(io.RawIOBase):
    """A stream that ends with an error where it has given too much."""

    def __init__(self, stream: io.BufferedIOBase, most: int) -> None:
        self._stream, self._left = stream, most

    def readable(self) -> bool:
        """A stream to read from."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Reads up to `size` bytes.

        Raises:
            ValueError: more came out of the archive than any honest one holds.
        """
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {_GROWTH} times its size")
        return content


def _in_tar(stream: io.BufferedIOBase | _Bounded, mode: str, archive: str) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode=mode) as tar:  # type: ignore[call-overload]
        for member in tar:
            _require_inside(member.name, archive)
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                _refuse(archive, f"holds {member.name!r}, which is no regular file")
            _require_small(member.name, member.size, archive)

            yield Member(PurePosixPath(member.name).as_posix(), partial(_content, tar, member))
        if mode == "r|":
            while stream.read(_BLOCK):  # to the end, where the checksum of what was read stands
                pass
            return
        # A tar ends with empty blocks. Without them the reader takes a cut file for a whole one.
        stream.seek(tar.offset)
        if stream.read(_BLOCK) != bytes(_BLOCK):
            _refuse(archive, "ends in the middle: it is not whole")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


def _in_zip(raw: io.BufferedReader, most: int, archive: str) -> Iterator[Member]:
    with zipfile.ZipFile(raw) as opened:
        files = [info for info in opened.infolist() if not info.is_dir()]
        if sum(info.file_size for info in files) > most:
            _refuse(archive, f"unpacks to more than {_GROWTH} times its size")
        for info in files:
            _require_inside(info.filename, archive)
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                _refuse(archive, f"holds {info.filename!r}, which is no regular file")
            _require_small(info.filename, info.file_size, archive)
            if info.compress_type not in BOUNDED_METHODS:
                _refuse(archive, f"holds {info.filename!r}, packed by another method than deflate")
            yield Member(
                PurePosixPath(info.filename).as_posix(), partial(read_member, opened, info)
            )


def _require_inside(name: str, archive: str) -> None:
    """Raises `InputError` for a name that is no relative path inside of the archive."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not name.isprintable():
        _refuse(archive, f"holds a file named {name!r}, which leads out of it")


def _require_small(name: str, size: int, archive: str) -> None:
    if size > MAX_BYTES:
        _refuse(archive, f"holds {name!r} of {size:,} bytes; no file of a data set has so many")


def _refuse(archive: str, reason: str) -> None:
    raise InputError(FIELD, archive, f"{reason}; nothing was imported")
