"""Damage to files: cut, emptied, flipped bits, deleted, replaced."""

import shutil
from pathlib import Path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def scatter(path: Path) -> None:
    """A bit in every KiB: some bytes are read by nobody, and the middle one may be of them."""
    content = bytearray(path.read_bytes())
    for place in range(min(512, len(content) // 2), len(content), 1024):
        content[place] ^= 1
    path.write_bytes(content)


def delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def replace(path: Path) -> None:
    """Puts a directory in the place of a file, or a file in that of a directory."""
    was_directory = path.is_dir()
    delete(path)
    path.write_text("") if was_directory else path.mkdir()
