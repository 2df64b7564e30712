"""Saving and restoring the arrays of converted weights with Orbax, and checks of stored arrays.

TensorStore, by which Orbax reads, unpacks no more of a chunk than the chunk should hold. But how
much that is, and how long its files are, is up to whoever made them.
"""

import errno
import math
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from xception_jax.errors import NO_SPACE
from xception_jax.regular_files import require_small_tree

_OVERHEAD = 1 << 26  # bytes, beside the arrays: descriptions and indices


class TooLarge(ValueError):
    """Stored arrays would take more memory than they should; the message says which, and why."""


def save_tree(directory: Path, tree: dict[str, Any]) -> None:
    """Writes nested dictionaries of arrays to a new directory; returns once they are on disk.

    Raises:
        OSError: the disk is full.
    """
    full = None
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(directory.absolute(), tree)
    except (OSError, ValueError) as error:  # TensorStore's are all of the second kind
        full = next((code for code in NO_SPACE if os.strerror(code) in str(error)), None)
        if full is None:
            raise
    if full is not None:  # without the error, whose tasks asyncio reports when they are collected
        raise OSError(full, os.strerror(full), str(directory))


def restore_tree(directory: Path, shapes: dict[str, Any]) -> dict[str, Any]:
    """Reads what `save_tree` wrote, as NumPy arrays.

    Args:
        directory: the directory that `save_tree` wrote.
        shapes: a `jax.ShapeDtypeStruct` for every array. Orbax would restore a stored array of
            another shape, so they are compared before anything is allocated.

    Raises:
        ValueError: the stored arrays differ in name, shape or dtype.
        Exception: the files are damaged; Orbax raises many kinds.
    """
    most = total_bytes(shapes)
    require_bounded_files(directory, most)
    stored, expected = _described(read_bounded_metadata(directory, most)), _described(shapes)
    with ocp.StandardCheckpointer() as checkpointer:
        for path in sorted(stored.keys() | expected.keys()):
            actual, wanted = stored.get(path, "nothing"), expected.get(path, "nothing")
            if actual != wanted:
                raise ValueError(f"{path} is {actual} there instead of {wanted}")
        restored = checkpointer.restore(directory.absolute(), shapes)
    return jax.tree.map(np.asarray, restored)


def require_bounded_files(directory: Path, most: int) -> None:
    """Checks the files of a directory in which Orbax has written arrays and their description.

    Args:
        directory: the directory.
        most: bytes of all arrays together.

    Raises:
        TooLarge: the files are larger by far.
        OSError: one is no regular file.
    """
    try:
        require_small_tree(directory, 4 * most + _OVERHEAD)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise TooLarge(f"{error.filename} {error.strerror}") from error


def read_bounded_metadata(directory: Path, most: int) -> Any:
    """The metadata of stored arrays, none of which takes more memory than it should.

    Args:
        directory: a directory of arrays that Orbax has written.
        most: bytes of all arrays together.

    Raises:
        TooLarge: the arrays are larger, or one is stored in chunks that are larger than itself.
        Exception: the files are damaged; Orbax raises many kinds.
    """
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.metadata(directory.absolute()).item_metadata.tree
    if (size := total_bytes(tree)) > most:
        raise TooLarge(f"its arrays have {size:,} bytes instead of {most:,}")
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        chunk, shape = tuple(leaf.storage.chunk_shape), tuple(leaf.shape)
        if len(chunk) != len(shape) or any(
            c > max(s, 1) for c, s in zip(chunk, shape, strict=True)
        ):
            path = jax.tree_util.keystr(keys, simple=True, separator="/")
            raise TooLarge(f"{path}, of shape {shape}, is stored in chunks of {chunk}")
    return tree


def total_bytes(shapes: Any) -> int:
    """The bytes of all arrays of a tree, known by their shapes and dtypes."""
    leaves = jax.tree.leaves(shapes)
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def _described(tree: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every leaf by its path."""
    return {
        jax.tree_util.keystr(keys, simple=True, separator="/"): (tuple(leaf.shape), str(leaf.dtype))
        for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
