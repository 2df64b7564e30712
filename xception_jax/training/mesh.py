"""The devices of a run as a mesh, and how arrays lie on it."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from xception_jax.errors import InputError

Tree = TypeVar("Tree")

SEED_AXIS, DATA_AXIS = "seed", "data"
REPLICATED = PartitionSpec()
BATCH = PartitionSpec(DATA_AXIS)


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of axes (seed, data) with every device on the data axis.

    Axis types are Auto: under JAX's default, Explicit, vmapped convolutions are refused.
    """
    devices = list(devices or jax.devices())
    shape = (1, len(devices))
    return jax.make_mesh(
        shape, (SEED_AXIS, DATA_AXIS), axis_types=(AxisType.Auto,) * 2, devices=devices
    )


def require_divisible(field: str, batch_size: int, mesh: Mesh, parts: int = 1) -> None:
    """Raises `InputError` unless every device gets equally many examples of each part."""
    devices = mesh.shape[DATA_AXIS]
    if batch_size % (devices * parts):
        unit = devices * parts
        reason = f"must be a multiple of {unit} ({devices} devices x {parts} parts)"
        raise InputError(field, batch_size, reason, max(1, round(batch_size / unit)) * unit)


def shard_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This host's rows of a global batch, as global arrays split over the data axis."""
    sharding = NamedSharding(mesh, BATCH)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Every device holds the whole of every array."""
    return jax.device_put(tree, NamedSharding(mesh, REPLICATED))
