"""The devices of a run or a pack of runs as a mesh, and how arrays lie on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from xception_jax.errors import InputError

Tree = TypeVar("Tree")

SEED_AXIS, DATA_AXIS = "seed", "data"
REPLICATED = PartitionSpec()


@dataclass(frozen=True)
class Layout:
    """How the arrays of a program lie on its devices; hashable.

    A run alone is on the data axis with every device. Runs in a pack have a leading axis in
    common, of their slots, which is split over the mesh's seed axis.

    Attributes:
        mesh: of axes (seed, data).
        slots: of the pack; None: a run alone.
    """

    mesh: Mesh
    slots: int | None = None

    @property
    def members(self) -> PartitionSpec:
        """Of what each run has for itself."""
        return REPLICATED if self.slots is None else PartitionSpec(SEED_AXIS)

    @property
    def rows(self) -> PartitionSpec:
        """Of what each run has of each row of a batch."""
        return PartitionSpec(*self.members, DATA_AXIS)

    @property
    def steps(self) -> PartitionSpec:
        """Of the batches of several steps."""
        return PartitionSpec(None, *self.rows)

    @property
    def shared_rows(self) -> PartitionSpec:
        """Of a batch that all runs see."""
        return PartitionSpec(DATA_AXIS)

    def stack(self, values: Sequence[Tree]) -> Tree:
        """One value for each slot (alone, the only one), on the devices."""
        sharding = NamedSharding(self.mesh, self.members)
        if self.slots is None:
            (only,) = values
            stacked: Tree = jax.device_put(only, sharding)
            return stacked
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(list(values)))
        return jax.device_put(stacked, sharding)

    def take(self, values: Tree, slot: int) -> Tree:
        """The value of one slot, on every device."""
        if self.slots is None:
            return values
        taken: Tree = _take(self.mesh, values, slot)
        return taken

    def put(self, batch: dict[str, np.ndarray], spec: PartitionSpec) -> dict[str, jax.Array]:
        """This host's part of global arrays, split as `spec` says."""
        sharding = NamedSharding(self.mesh, spec)
        return {
            name: jax.make_array_from_process_local_data(sharding, rows)
            for name, rows in batch.items()
        }


@partial(jax.jit, static_argnums=0)
def _take(mesh: Mesh, values: Tree, slot: int) -> Tree:
    sharding = NamedSharding(mesh, REPLICATED)
    taken: Tree = jax.tree.map(
        lambda x: jax.lax.with_sharding_constraint(x[slot], sharding), values
    )
    return taken


def make_mesh(devices: Sequence[jax.Device] | None = None, slots: int | None = None) -> Mesh:
    """A mesh of axes (seed, data) for a run alone (None) or a pack with so many slots.

    The seed axis takes as many devices as divide the slots, the data axis the rest. Axis types are
    Auto: under JAX's default, Explicit, vmapped convolutions are refused.
    """
    devices = list(devices or jax.devices())
    # On several hosts each holds its rows of every run's batch, so all devices share the batch.
    seeds = gcd(slots or 1, len(devices)) if jax.process_count() == 1 else 1
    shape = (seeds, len(devices) // seeds)
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


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Every device holds the whole of every array."""
    return jax.device_put(tree, NamedSharding(mesh, REPLICATED))
