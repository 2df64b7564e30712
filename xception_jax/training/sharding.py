"""The devices of a run or a pack of runs as a mesh, and how arrays lie on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any, TypeVar

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
    def run_spec(self) -> PartitionSpec:
        """Of what each run has for itself."""
        return REPLICATED if self.slots is None else PartitionSpec(SEED_AXIS)

    @property
    def batch_spec(self) -> PartitionSpec:
        """Of what each run has of each row of a batch."""
        return PartitionSpec(*self.run_spec, DATA_AXIS)

    @property
    def steps_spec(self) -> PartitionSpec:
        """Of the batches of several steps."""
        return PartitionSpec(None, *self.batch_spec)

    @property
    def shared_batch_spec(self) -> PartitionSpec:
        """Of a batch that all runs see."""
        return PartitionSpec(DATA_AXIS)

    def shard_spec(self, shape: Sequence[int]) -> PartitionSpec:
        """Of what a run has once, as an array of this shape of which each device keeps a part."""
        axis = shared_axis(shape, self.mesh.shape[DATA_AXIS])
        return (
            self.run_spec
            if axis is None
            else PartitionSpec(*self.run_spec, *[None] * axis, DATA_AXIS)
        )

    def stack(self, values: Sequence[Tree], specs: Any = None) -> Tree:
        """One value for each slot (alone, the only one), on the devices.

        Args:
            values: trees of arrays, of each slot.
            specs: for each array how it lies; None: as `run_spec`.
        """
        if self.slots is None:
            (stacked,) = values
        else:
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(list(values)))
        return _place(stacked, self.mesh, self.run_spec if specs is None else specs)

    def take(self, values: Tree, slot: int) -> Tree:
        """The value of one slot, whole: of a pack in one process NumPy arrays, else on devices."""
        if self.slots is None:
            return self.replicate(values)
        if jax.process_count() > 1:
            taken: Tree = _take(self.mesh, values, slot)
            return taken
        one: Tree = jax.tree.map(lambda x: x[slot, ...], jax.device_get(values))
        return one

    def replicate(self, values: Tree) -> Tree:
        """As `run_spec`, whatever parts of them the devices keep."""
        sharding = NamedSharding(self.mesh, self.run_spec)
        if all(x.sharding.is_equivalent_to(sharding, x.ndim) for x in jax.tree.leaves(values)):
            return values
        gathered: Tree = _laid_out(sharding, values)
        return gathered

    def interleave_shards(
        self, batches: dict[str, np.ndarray], parts: int
    ) -> dict[str, np.ndarray]:
        """Of batches that are made of `parts`: to each device in turn its rows of every part.

        Args:
            batches: arrays [steps, rows, …], or [steps, slots, rows, …] of a pack: this host's rows
                of the first part, then of the second, ….
            parts: of each batch.
        """
        devices = self.mesh.shape[DATA_AXIS] // jax.process_count()
        if 1 in {parts, devices}:
            return batches
        axis = len(self.steps_spec) - 1

        def deal(rows: np.ndarray) -> np.ndarray:
            shape = *rows.shape[:axis], parts, devices, -1, *rows.shape[axis + 1 :]
            return rows.reshape(shape).swapaxes(axis, axis + 1).reshape(rows.shape)

        return {name: deal(rows) for name, rows in batches.items()}

    def put(self, batch: dict[str, np.ndarray], spec: PartitionSpec) -> dict[str, jax.Array]:
        """This host's part of global arrays, split as `spec` says."""
        sharding = NamedSharding(self.mesh, spec)
        return {
            name: jax.make_array_from_process_local_data(sharding, rows)
            for name, rows in batch.items()
        }


@partial(jax.jit, static_argnums=0)
def _laid_out(sharding: NamedSharding, values: Tree) -> Tree:
    return jax.lax.with_sharding_constraint(values, sharding)


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

    Args:
        devices: None: all; or, where a device of JAX's is set as the default (as the command line
            does on a CPU: `commands.process.prepare_jax`), that one for a run alone, and for a pack
            as many as share its slots evenly.
        slots: see above.
    """
    devices = list(devices or _devices(slots))
    axes, types = (SEED_AXIS, DATA_AXIS), (AxisType.Auto,) * 2
    if jax.process_count() > 1:
        return Mesh(np.array([_by_process(devices)]), axes, types)
    seeds = gcd(slots or 1, len(devices))
    shape = (seeds, len(devices) // seeds)
    return jax.make_mesh(shape, axes, axis_types=types, devices=devices)


def _devices(slots: int | None) -> Sequence[jax.Device]:
    if (default := _default_device()) is None:
        return jax.devices()
    if slots is None:
        return [default]
    return jax.devices()[: max(n for n in range(1, jax.device_count() + 1) if slots % n == 0)]


def devices_of_packs() -> int:
    """Over how many devices the slots of a pack can be spread while a run alone has but one."""
    return 1 if _default_device() is None else jax.device_count()


def _default_device() -> jax.Device | None:
    default = jax.config.values["jax_default_device"]
    return default if isinstance(default, jax.Device) and jax.process_count() == 1 else None


def _by_process(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """In the order of the batch's rows, of which each process holds a consecutive part.

    `jax.make_mesh` would go by the network alone, and a row's place, which its random draws hang
    on, would depend on that.
    """
    return sorted(devices, key=lambda device: (device.process_index, device.id))


def shared_axis(shape: Sequence[int], devices: int) -> int | None:
    """The longest axis that can be dealt out to so many devices; None: there is none."""
    able = [axis for axis, size in enumerate(shape) if size and size % devices == 0]
    return max(able, key=lambda axis: shape[axis], default=None)


def require_divisible(field: str, batch_size: int, mesh: Mesh, parts: int = 1) -> None:
    """Raises `InputError` unless every device gets equally many examples of each part."""
    devices = mesh.shape[DATA_AXIS]
    if batch_size % (devices * parts):
        unit = devices * parts
        reason = f"must be a multiple of {unit} ({devices} devices x {parts} parts)"
        raise InputError(field, batch_size, reason, max(1, round(batch_size / unit)) * unit)


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Every device holds the whole of every array."""
    return _place(tree, mesh, REPLICATED)


def _place(tree: Tree, mesh: Mesh, specs: Any) -> Tree:
    """Arrays that every process has whole, on the devices of all.

    Args:
        tree: of the arrays.
        mesh: of the devices.
        specs: a tree of the same form, or one for all.
    """
    shardings = jax.tree.map(partial(NamedSharding, mesh), specs)
    if jax.process_count() == 1:
        placed: Tree = jax.device_put(tree, shardings)
        return placed
    if isinstance(specs, PartitionSpec):
        shardings = jax.tree.map(lambda _: shardings, tree)

    # device_put would compare the processes' values first, as large as a data set.
    def place(x: Any, sharding: NamedSharding) -> jax.Array:
        return jax.make_array_from_callback(np.shape(x), sharding, np.asarray(x).__getitem__)

    spread: Tree = jax.tree.map(place, tree, shardings)
    return spread
