"""Whether two runs left the same: curve, state, predictions and pairing.json, bit for bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xception_jax.tracking import read_metrics


def final_state(directory: Path) -> dict[str, Any]:
    """The arrays of a run's newest checkpoint by path, read by Orbax alone, on one device."""
    import jax
    import orbax.checkpoint as ocp

    newest = max(int(path.name) for path in (directory / "checkpoints").iterdir())
    path = (directory / "checkpoints" / str(newest) / "default").absolute()
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with ocp.StandardCheckpointer() as checkpointer:
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
            checkpointer.metadata(path).item_metadata.tree,
        )
        tree = checkpointer.restore(path, shapes)
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): value for path, value in leaves}


def assert_same_arrays(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Fails unless arrays have the same names and are equal bit for bit."""
    assert one.keys() == other.keys()
    for name in one:
        mine, theirs = np.asarray(one[name]), np.asarray(other[name])
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape), name
        assert mine.tobytes() == theirs.tobytes(), name


def assert_same_run(one: Path, other: Path) -> None:
    """Fails unless two runs left the same."""
    assert (one / "pairing.json").read_bytes() == (other / "pairing.json").read_bytes()
    assert read_metrics(one / "metrics.jsonl") == read_metrics(other / "metrics.jsonl")
    assert_same_arrays(final_state(one), final_state(other))
    assert_same_arrays(*(np.load(home / "predictions.npz") for home in (one, other)))


def _group(name: str) -> str:
    """`['parameters']['entry/0/kernel']` -> `['parameters'`: what has one scale."""
    return name.partition("]")[0]


def assert_nearly_same_run(one: Path, other: Path, tolerance: float) -> None:
    """The same examples in the same order, bit for bit; numbers relative to the largest of a kind.

    Single losses and correctness near a tie hang on a little more than the parameters do.
    """
    assert (one / "pairing.json").read_text() == (other / "pairing.json").read_text()
    curves = [read_metrics(home / "metrics.jsonl") for home in (one, other)]
    places = [[(row["step"], row["split"]) for row in curve] for curve in curves]
    assert places[0] == places[1]
    losses, others = ([row["loss"] for row in curve] for curve in curves)
    np.testing.assert_allclose(losses, others, rtol=10 * tolerance)
    states = final_state(one), final_state(other)
    assert states[0].keys() == states[1].keys()
    largest: dict[str, float] = {}
    for name, value in states[0].items():
        top = float(np.max(np.abs(value), initial=0))
        largest[_group(name)] = max(top, largest.get(_group(name), 0))
    for name, value in states[0].items():
        bound = tolerance * largest[_group(name)]
        np.testing.assert_allclose(value, states[1][name], rtol=0, atol=bound, err_msg=name)
    predictions = [np.load(home / "predictions.npz") for home in (one, other)]
    for exact in ("index", "label"):
        assert np.array_equal(*(each[exact] for each in predictions))
    losses, others = (each["loss"] for each in predictions)
    np.testing.assert_allclose(losses, others, rtol=100 * tolerance)
