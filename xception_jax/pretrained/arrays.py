"""Arrays of converted weights on disk, written and read by Orbax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


def save_tree(directory: Path, tree: dict[str, Any]) -> None:
    """Writes nested dictionaries of arrays to a directory that does not exist yet; waits for it."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory.absolute(), tree)


def restore_tree(directory: Path, shapes: dict[str, Any]) -> dict[str, Any]:
    """What `save_tree` wrote, as NumPy arrays.

    Args:
        directory: see `save_tree`.
        shapes: `jax.ShapeDtypeStruct` for every array. Orbax would read a stored array of another
            shape all the same, so they are compared first, and nothing is allocated in vain.

    Raises:
        ValueError: the arrays there are others, by name, shape or type.
        Exception: the files are damaged; Orbax raises many kinds.
    """
    asked = {_path(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    with ocp.StandardCheckpointer() as checkpointer:
        metadata = checkpointer.metadata(directory.absolute()).item_metadata.tree
        there = {_path(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(metadata)}
        for path in sorted(asked.keys() | there.keys()):
            found, expected = (
                (tuple(tree[path].shape), str(tree[path].dtype)) if path in tree else "nothing"
                for tree in (there, asked)
            )
            if found != expected:
                raise ValueError(f"{path} is {found} there instead of {expected}")
        restored = checkpointer.restore(directory.absolute(), shapes)
    return jax.tree.map(np.asarray, restored)


def _path(keys: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")
