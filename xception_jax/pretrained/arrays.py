"""Saving and restoring the arrays of converted weights with Orbax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


def save_tree(directory: Path, tree: dict[str, Any]) -> None:
    """Writes nested dictionaries of arrays to a new directory; returns once they are on disk."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory.absolute(), tree)


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
    with ocp.StandardCheckpointer() as checkpointer:
        metadata = checkpointer.metadata(directory.absolute()).item_metadata.tree
        stored, expected = _described(metadata), _described(shapes)
        for path in sorted(stored.keys() | expected.keys()):
            actual, wanted = stored.get(path, "nothing"), expected.get(path, "nothing")
            if actual != wanted:
                raise ValueError(f"{path} is {actual} there instead of {wanted}")
        restored = checkpointer.restore(directory.absolute(), shapes)
    return jax.tree.map(np.asarray, restored)


def _described(tree: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every leaf by its path."""
    return {
        jax.tree_util.keystr(keys, simple=True, separator="/"): (tuple(leaf.shape), str(leaf.dtype))
        for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
