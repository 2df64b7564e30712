"""Deterministic operations on GPUs, so that a run repeats bit for bit there too.

CPUs and TPUs need no such request. Some of XLA's operations for GPUs are faster where the order of
their sums is left to chance; XCEPTION_JAX_DETERMINISTIC=off allows these.
"""

import os

from xception_jax.errors import require_choice


def is_deterministic() -> bool:
    """Whether runs are to repeat bit for bit.

    Raises:
        InputError: XCEPTION_JAX_DETERMINISTIC is neither "on" nor "off".
    """
    choice = os.environ.get("XCEPTION_JAX_DETERMINISTIC", "on")
    require_choice("XCEPTION_JAX_DETERMINISTIC", choice, ("on", "off"))
    return choice == "on"


def deterministic_options(platform: str) -> dict[str, bool]:
    """The compiler options that make a program of this platform deterministic.

    Args:
        platform: of the program's devices, "cpu", "gpu" or "tpu".

    Raises:
        InputError: see `is_deterministic`.
    """
    return {"xla_gpu_deterministic_ops": True} if platform == "gpu" and is_deterministic() else {}
