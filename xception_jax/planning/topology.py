"""TPU topologies as devices to compile for; the chips need not be present."""

import importlib
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from xception_jax.errors import InputError, nearest_name
from xception_jax.training.sharding import REPLICATED, make_mesh

# Slices that are offered for rent, of two or three dimensions. The compiler accepts others as well:
# these serve to suggest one to a user who asked for one that does not exist.
_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_DEEP = (
    *("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16"),
    *("8x16x16", "16x16x16"),
)
SLICES = {"v4": _DEEP, "v5e": _FLAT, "v5p": _DEEP, "v6e": _FLAT}
# Without these libtpu queries Google's metadata server, logs at length that it does not answer, and
# lets no other process use the library meanwhile.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = r"([\d.]+)([KMGT]?)"
_TOO_LARGE = (
    re.compile(rf"Used {_SIZE}\w* of {_SIZE}\w* hbm"),
    re.compile(rf"\({_SIZE}\) exceeds available HBM \({_SIZE}\)"),
)


@dataclass(frozen=True)
class Topology:
    """Chips of one generation and how they are connected.

    Attributes:
        name: name of the topology, such as "v5e:4x4".
        devices: devices to compile for, one per chip.
        memory_bytes: part of each chip's HBM that the compiler lets a program use.
    """

    name: str
    devices: tuple[jax.Device, ...]
    memory_bytes: float

    @property
    def generation(self) -> str:
        """Generation of the chips, such as "v5e"."""
        return self.name.partition(":")[0]


def open_topology(name: str) -> Topology:
    """Opens a topology by name; from then on this process computes on the CPU.

    Raises:
        InputError: the compiler does not know the name, or is not installed.
    """
    generation, _, shape = name.partition(":")
    if generation not in SLICES or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
        raise InputError("--topology", name, "no such TPU topology", _nearest(name))
    if find_spec("libtpu") is None:
        reason = 'needs the TPU compiler, which is not installed: pip install "jax[tpu]"'
        raise InputError("--topology", name, reason)
    for variable, value in (_ENVIRONMENT | {"TPU_ACCELERATOR_TYPE": f"{generation}-8"}).items():
        os.environ.setdefault(variable, value)
    # Chips of this machine may be in use, and programs for absent chips cannot be read back.
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    topologies = importlib.import_module("jax.experimental.topologies")
    sizes = [int(size) for size in shape.split("x")]
    one_device_a_chip = {"chip_config_name": "megacore"} if generation == "v4" else {}
    try:
        description = topologies.get_topology_desc(
            platform="tpu",
            topology_name=name,
            chips_per_host_bounds=(*(min(size, 2) for size in sizes[:2]), 1),
            **one_device_a_chip,
        )
    except jax.errors.JaxRuntimeError as error:
        raise InputError("--topology", name, "no such TPU topology", _nearest(name)) from error
    devices = tuple(description.devices)
    return Topology(name, devices, _memory_bytes(devices))


def _nearest(name: str) -> str | None:
    """The existing slice of the most similar generation whose number of chips is nearest."""
    generation, *sizes = re.split(r"[^a-z0-9]+|(?<=\d)x(?=\d)", name.lower())
    generation = generation.replace("v5litepod", "v5e")  # as Google's accelerator types call it
    nearest = nearest_name(generation, SLICES)
    if nearest is None:
        return None
    wanted = prod(int(size) for size in sizes if size.isdecimal()) if sizes else 16

    def difference(slice_: str) -> float:
        chips = prod(int(size) for size in slice_.split("x"))
        return max(chips, wanted) / max(min(chips, wanted), 1)

    return f"{nearest}:{min(SLICES[nearest], key=difference)}"


def _memory_bytes(devices: tuple[jax.Device, ...]) -> float:
    """The memory that the compiler allows a program, from its error on a program far too large."""
    sharding = NamedSharding(make_mesh(devices), REPLICATED)
    huge = jax.ShapeDtypeStruct((2**40,), jnp.float32, sharding=sharding)
    try:
        jax.jit(jnp.negative).lower(huge).compile()
    except jax.errors.JaxRuntimeError as error:
        if memory := needed_and_available(str(error)):
            return memory[1]
        raise
    raise AssertionError("a program of four terabytes fits")


def needed_and_available(message: str) -> tuple[float, float] | None:
    """The bytes that a program needs and may use, from the compiler's out-of-memory error.

    Returns None for any other error.
    """
    for pattern in _TOO_LARGE:
        if match := pattern.search(message):
            needed, needed_unit, available, available_unit = match.groups()
            return float(needed) * _UNITS[needed_unit], float(available) * _UNITS[available_unit]
    return None
