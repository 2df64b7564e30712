"""Options of JAX and of compilers that may change the numbers of a run, though no setting says so.

A run records them, and the audit compares those of runs that are paired. JAX_ENABLE_X64 is none of
them: the command line undoes it.
"""

import os
from collections.abc import Mapping
from typing import Any

import jax

from xception_jax.ops import native
from xception_jax.ops.dispatch import backend

_OF_JAX = (
    "jax_allow_f16_reductions",
    "jax_default_matmul_precision",
    "jax_disable_most_optimizations",
    "jax_exec_time_optimization_effort",
    "jax_optimization_level",
    "jax_use_direct_linearize",
)
_KERNELS = "kernels"  # the version of the C++ kernels, or "none"
_VARIABLES = ("LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "XLA_FLAGS")
# Flags that leave results as they are: the number of devices is recorded as such.
_WITHOUT_EFFECT = ("--xla_dump", "--xla_force_host_platform_device_count")


def numerical_options(earlier: object = None) -> dict[str, str]:
    """The options of JAX, and the variables of compilers that are set, in the present process.

    Args:
        earlier: what this function returned before the run was interrupted, as it was recorded. An
            option that has changed since has both values.
    """
    options = {name: str(jax.config.values[name]) for name in _OF_JAX if name in jax.config.values}
    for name in _VARIABLES:
        if words := _words(os.environ.get(name, "")):
            options[name] = words
    if backend() == "cpu":
        options[_KERNELS] = native.version() if native.available() else "none"
    before: dict[str, Any] = dict(earlier if isinstance(earlier, Mapping) else options)
    if _KERNELS in options:  # records of earlier versions do not have it
        before.setdefault(_KERNELS, options[_KERNELS])
    for name in {**before, **options}:
        old, new = str(before.get(name, "not set")), options.get(name, "not set")
        if old != new:
            options[name] = old if old.endswith(f", then {new}") else f"{old}, then {new}"
    return options


def _words(text: str) -> str:
    return " ".join(sorted(word for word in text.split() if not word.startswith(_WITHOUT_EFFECT)))
