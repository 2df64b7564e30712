"""Deterministic operations on GPUs, so that a run repeats bit for bit there too.

CPUs and TPUs need no such request. Some of XLA's operations for GPUs are faster where the order of
their sums is left to chance; XCEPTION_JAX_DETERMINISTIC=off allows these.
"""

from xception_jax.switches import is_on


def is_deterministic() -> bool:
    """Whether runs are to repeat bit for bit.

    Raises:
        InputError: XCEPTION_JAX_DETERMINISTIC is neither "on" nor "off".
    """
    return is_on("XCEPTION_JAX_DETERMINISTIC")


def deterministic_options(platform: str) -> dict[str, bool]:
    """The compiler options that make a program of this platform deterministic.

    Args:
        platform: platform of the program's devices, "cpu", "gpu" or "tpu".

    Raises:
        InputError: see `is_deterministic`.
    """
    return {"xla_gpu_deterministic_ops": True} if platform == "gpu" and is_deterministic() else {}
