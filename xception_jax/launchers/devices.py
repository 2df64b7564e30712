"""The accelerators of this machine, shared out among processes without asking JAX for them.

JAX takes every device it sees when it is first asked: the process that shares them out must not.
"""

import os
import re
from math import ceil
from pathlib import Path

from xception_jax.errors import InputError

_MEMORY = 0.9  # of a GPU, over all processes on it
# So many chips of one host as a block, for libtpu.
_TPU_BLOCKS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}


def accelerators(root: Path = Path("/")) -> tuple[str, list[str]]:
    """("cuda" or "tpu", the names by which a process is given them), or ("cpu", []).

    Args:
        root: where `dev` and `proc` are.
    """
    if os.environ.get("JAX_PLATFORMS", "").split(",")[0] == "cpu":
        return "cpu", []
    for kind, variable, found in (
        ("cuda", "CUDA_VISIBLE_DEVICES", root.glob("proc/driver/nvidia/gpus/*")),
        ("tpu", "TPU_VISIBLE_CHIPS", _tpu_chips(root)),
    ):
        given = os.environ.get(variable)
        names = given.split(",") if given else [str(n) for n, _ in enumerate(found)]
        if names and given != "":
            return kind, names
    return "cpu", []


def _tpu_chips(root: Path) -> list[Path]:
    groups = [path for path in root.glob("dev/vfio/*") if re.fullmatch(r"\d+", path.name)]
    return [*root.glob("dev/accel*"), *groups]


def shares(workers: int, kind: str, names: list[str]) -> list[dict[str, str]]:
    """For each of so many processes the environment that gives it its share; of a CPU, all.

    Raises:
        InputError: the devices cannot be shared so.
    """
    if not names:
        return [{} for _ in range(workers)]
    if workers > len(names):
        if kind == "tpu":
            raise InputError("--workers", workers, "a chip serves one process", len(names))
        share = f"{_MEMORY / ceil(workers / len(names)):.3f}"
        return [
            {
                "CUDA_VISIBLE_DEVICES": names[worker % len(names)],
                "XLA_PYTHON_CLIENT_MEM_FRACTION": share,
            }
            for worker in range(workers)
        ]
    each = len(names) // workers
    groups = [",".join(names[first : first + each]) for first in range(0, workers * each, each)]
    if kind == "cuda":
        return [{"CUDA_VISIBLE_DEVICES": group} for group in groups]
    if workers == 1:
        return [{}]
    if each not in _TPU_BLOCKS:
        raise InputError("--workers", workers, f"leaves {each} chips a process", len(names))
    one = {"TPU_PROCESS_BOUNDS": "1,1,1", "TPU_CHIPS_PER_PROCESS_BOUNDS": _TPU_BLOCKS[each]}
    return [one | {"TPU_VISIBLE_CHIPS": group} for group in groups]
