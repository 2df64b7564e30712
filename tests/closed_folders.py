"""Folders that may not be read, for root neither, and a place for them that all users can reach."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may read, which they may not below pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def unreadable(folder: Path) -> Iterator[None]:
    """Takes away every permission for the folder, which is made if need be, those of root too.

    As root, the block runs as another user, who may not read Python's own files either: what is
    imported only there has to be imported before.
    """
    folder.mkdir(exist_ok=True)
    folder.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)
