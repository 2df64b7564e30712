"""The devices of a run or a pack as a mesh, and how arrays lie on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from xception_jax.errors import InputError

Tree = TypeVar("Tree")

SEED_AXIS, DATA_AXIS = "seed", "data"
REPLICATED = PartitionSpec()


@dataclass(frozen=True)
class Layout:
    """How the arrays of a program lie on its devices; hashable.

    A run alone has all devices on the data axis. The arrays of a pack have a leading axis of slots,
    one for each run, which is split over the mesh's seed axis.

    Attributes:
        mesh: the devices, with the axes (seed, data).
        slots: number of slots of the pack; None: a run alone.
    """

    mesh: Mesh
    slots: int | None = None

    @property
    def run_spec(self) -> PartitionSpec:
        """PartitionSpec of per-run arrays: split over the seed axis in a pack, else replicated."""
        return REPLICATED if self.slots is None else PartitionSpec(SEED_AXIS)

    @property
    def batch_spec(self) -> PartitionSpec:
        """PartitionSpec of arrays with a row for each example of each run's batch."""
        return PartitionSpec(*self.run_spec, DATA_AXIS)

    @property
    def steps_spec(self) -> PartitionSpec:
        """PartitionSpec of the batches of several steps, which are the leading axis."""
        return PartitionSpec(None, *self.batch_spec)

    @property
    def shared_batch_spec(self) -> PartitionSpec:
        """PartitionSpec of a batch that all runs share."""
        return PartitionSpec(DATA_AXIS)

    def shard_spec(self, shape: Sequence[int]) -> PartitionSpec:
        """PartitionSpec of a per-run array that the devices of the data axis share in shards.

        Args:
            shape: shape of one run's array.
        """
        axis = shard_axis(shape, self.mesh.shape[DATA_AXIS])
        return (
            self.run_spec
            if axis is None
            else PartitionSpec(*self.run_spec, *[None] * axis, DATA_AXIS)
        )

    def stack(self, values: Sequence[Tree], specs: Any = None) -> Tree:
        """The values of all slots, stacked and put on the devices; alone, the only value.

        Args:
            values: a tree of arrays for each slot.
            specs: PartitionSpecs, a tree of the same structure or one for all; None: `run_spec`.
        """
        if self.slots is None:
            (stacked,) = values
        else:
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(list(values)))
        return _place(stacked, self.mesh, self.run_spec if specs is None else specs)

    def fill(self, values: Sequence[Tree], padding: Tree) -> list[Tree]:
        """A value for every slot: those of the runs, then `padding` for slots without a run."""
        return [*values, *[padding] * ((self.slots or 1) - len(values))]

    def take(self, values: Tree, slot: int) -> Tree:
        """The values of one slot, with no array in shards.

        Those of a pack are NumPy arrays, those of a run alone lie on the devices.
        """
        if self.slots is None:
            return self.replicate(values)
        of_slot: Tree = jax.tree.map(lambda x: x[slot, ...], jax.device_get(values))
        return of_slot

    def replicate(self, values: Tree) -> Tree:
        """Per-run arrays laid out as `run_spec` says: those in shards are gathered."""
        sharding = NamedSharding(self.mesh, self.run_spec)
        if all(x.sharding.is_equivalent_to(sharding, x.ndim) for x in jax.tree.leaves(values)):
            return values
        gathered: Tree = _with_sharding(sharding, values)
        return gathered

    def interleave_shards(
        self, batches: dict[str, np.ndarray], parts: int
    ) -> dict[str, np.ndarray]:
        """Reorders batches made of `parts` so that each device gets its rows of every part.

        Args:
            batches: arrays [steps, rows, …], or [steps, slots, rows, …] of a pack: this host's rows
                of the first part, then of the second, ….
            parts: number of parts of each batch.
        """
        devices = self.mesh.shape[DATA_AXIS] // jax.process_count()
        if 1 in {parts, devices}:
            return batches
        axis = len(self.steps_spec) - 1

        def interleaved(rows: np.ndarray) -> np.ndarray:
            shape = *rows.shape[:axis], parts, devices, -1, *rows.shape[axis + 1 :]
            return rows.reshape(shape).swapaxes(axis, axis + 1).reshape(rows.shape)

        return {name: interleaved(rows) for name, rows in batches.items()}

    def put(self, batch: dict[str, np.ndarray], spec: PartitionSpec) -> dict[str, jax.Array]:
        """Global arrays on the devices, laid out by `spec`, from this host's rows of them."""
        sharding = NamedSharding(self.mesh, spec)
        return {
            name: jax.make_array_from_process_local_data(sharding, rows)
            for name, rows in batch.items()
        }


@partial(jax.jit, static_argnums=0)
def _with_sharding(sharding: NamedSharding, values: Tree) -> Tree:
    return jax.lax.with_sharding_constraint(values, sharding)


def make_mesh(devices: Sequence[jax.Device] | None = None, slots: int | None = None) -> Mesh:
    """A mesh with the axes (seed, data) for a run alone or a pack.

    The seed axis takes as many devices as divide the slots, the data axis the rest. Axis types are
    Auto: under JAX's default, Explicit, vmapped convolutions are refused.

    Args:
        devices: devices of the mesh. None: all; or, where JAX has a default device (the command
            line sets one on a CPU: `commands.process.prepare_jax`), that one for a run alone, and
            for a pack as many as share its slots evenly.
        slots: number of slots of the pack; None: a run alone.
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


def cpu_devices_of_packs() -> int:
    """The number of CPU devices over which a pack may be spread; 1 where even a run alone uses all.

    The latter is so on accelerators, and in several processes.
    """
    return 1 if _default_device() is None else jax.device_count()


def _default_device() -> jax.Device | None:
    default = jax.config.values["jax_default_device"]
    return default if isinstance(default, jax.Device) and jax.process_count() == 1 else None


def _by_process(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """The devices in the order of the batch's rows, of which each process has consecutive ones.

    `jax.make_mesh` would order them by the network alone, and the position of a row, which its
    random draws are a function of, would depend on that.
    """
    return sorted(devices, key=lambda device: (device.process_index, device.id))


def shard_axis(shape: Sequence[int], devices: int) -> int | None:
    """The longest axis that splits evenly over so many devices; None: there is none."""
    divisible = [axis for axis, size in enumerate(shape) if size and size % devices == 0]
    return max(divisible, key=lambda axis: shape[axis], default=None)


def require_divisible_batch(batch_size: int, mesh: Mesh, parts: int) -> None:
    """Raises `InputError` unless every device gets equally many examples of each part."""
    devices = mesh.shape[DATA_AXIS]
    if batch_size % (devices * parts):
        unit = devices * parts
        reason = f"must be a multiple of {unit} ({devices} devices x {parts} parts)"
        nearest = max(1, round(batch_size / unit)) * unit
        raise InputError("train.batch_size", batch_size, reason, nearest)


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Arrays of which every device of the mesh holds the whole."""
    return _place(tree, mesh, REPLICATED)


def _place(tree: Tree, mesh: Mesh, specs: Any) -> Tree:
    """Arrays on the devices of all processes, from arrays that every process has whole.

    Args:
        tree: the arrays.
        mesh: the devices.
        specs: PartitionSpecs, a tree of the same structure or one for all.
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

    placed_by_all: Tree = jax.tree.map(place, tree, shardings)
    return placed_by_all


def local_shards(tree: Mapping[str, Array]) -> dict[str, Array]:
    """This device's shard of every array; arrays that no axis splits evenly stay whole.

    Which axis is split says `shard_axis`, as in `Layout.shard_spec`.
    """
    devices = lax.axis_size(DATA_AXIS)

    def shard(x: Array) -> Array:
        if (axis := shard_axis(x.shape, devices)) is None:
            return x
        size = x.shape[axis] // devices
        return lax.dynamic_slice_in_dim(x, lax.axis_index(DATA_AXIS) * size, size, axis)

    return jax.tree.map(shard, dict(tree))


def gather_shards(shards: Mapping[str, Array], like: Mapping[str, Array]) -> dict[str, Array]:
    """The whole arrays, shaped as those of `like`, from each device's `local_shards`."""

    def gather_whole(shard: Array, like: Array) -> Array:
        axis = shard_axis(like.shape, lax.axis_size(DATA_AXIS))
        return shard if axis is None else lax.all_gather(shard, DATA_AXIS, axis=axis, tiled=True)

    return jax.tree.map(gather_whole, dict(shards), dict(like))
