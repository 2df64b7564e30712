"""Assignment of this machine's accelerators to worker processes, without initializing JAX.

JAX occupies every visible device when it is initialized, so the process that assigns them must not
use it.
"""

import os
from math import ceil
from pathlib import Path

from xception_jax.errors import InputError
from xception_jax.runtime.accelerators import count_gpus, count_tpu_chips

GPU_MEMORY_SHARE = 0.9
"""Fraction of a GPU's memory for all processes on it."""

# libtpu's shape of a block of so many chips of one host.
_TPU_BLOCKS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}


def accelerators(root: Path = Path("/")) -> tuple[str, list[str]]:
    """The kind and names of this machine's accelerators.

    Args:
        root: directory that has `dev`, `proc` and `sys`.

    Returns:
        "cuda" or "tpu" with the names by which a process is assigned devices, or ("cpu", []).
    """
    if os.environ.get("JAX_PLATFORMS", "").split(",")[0] == "cpu":
        return "cpu", []
    for kind, variable, count in (
        ("cuda", "CUDA_VISIBLE_DEVICES", count_gpus),
        ("tpu", "TPU_VISIBLE_CHIPS", count_tpu_chips),
    ):
        visible = os.environ.get(variable)
        if visible == "":
            continue
        names = visible.split(",") if visible else [*map(str, range(count(root, os.environ)))]
        if names:
            return kind, names
    return "cpu", []


def shares(workers: int, kind: str, names: list[str]) -> list[dict[str, str]]:
    """The environment variables that give each worker process its share of the devices.

    Without accelerators, all workers share the CPU.

    Args:
        workers: number of worker processes.
        kind: kind of the accelerators; see `accelerators`.
        names: names of the accelerators; see `accelerators`.

    Raises:
        InputError: the devices cannot be shared by so many processes.
    """
    if not names:
        return [{} for _ in range(workers)]
    if workers > len(names):
        if kind == "tpu":
            raise InputError("--workers", workers, "a chip serves one process", len(names))
        share = f"{GPU_MEMORY_SHARE / ceil(workers / len(names)):.3f}"
        return [
            {
                "CUDA_VISIBLE_DEVICES": names[worker % len(names)],
                "XLA_PYTHON_CLIENT_MEM_FRACTION": share,
            }
            for worker in range(workers)
        ]
    count = len(names) // workers
    groups = [",".join(names[start : start + count]) for start in range(0, workers * count, count)]
    if kind == "cuda":
        return [{"CUDA_VISIBLE_DEVICES": group} for group in groups]
    if workers == 1:
        return [{}]
    if count not in _TPU_BLOCKS:
        raise InputError("--workers", workers, f"leaves {count} chips a process", len(names))
    bounds = {"TPU_PROCESS_BOUNDS": "1,1,1", "TPU_CHIPS_PER_PROCESS_BOUNDS": _TPU_BLOCKS[count]}
    return [bounds | {"TPU_VISIBLE_CHIPS": group} for group in groups]
