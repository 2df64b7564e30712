"""The table that decides what `implementation="auto"` means for every operation.

The rules for CPU were measured on whole train steps of Xception on two cores. Those for TPU rest on
its compiler's counts (`benchmarks/topology.py`), not on measured times. Those for GPU have not been
measured. If no rule applies, XLA's own operation is used.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf

import jax

from xception_jax.errors import require_choice

REFERENCE = "lax"
_references_only = ContextVar("references_only", default=False)


@dataclass(frozen=True)
class Rule:
    """A rule of `auto`: on `backend`, `implementation` is the fastest within the bounds.

    Attributes:
        max_channels: the most channels of the input.
        max_groups: the most groups of channels.
        max_width: the greatest width of the output, pixels.
        max_strides: the greatest strides of the operation.
    """

    operation: str
    backend: str
    implementation: str
    max_channels: float = inf
    max_groups: float = inf
    max_width: float = inf
    max_strides: float = inf


# The first rule that applies and whose implementation is available decides.
RULES: tuple[Rule, ...] = (
    Rule("depthwise", "cpu", "native"),
    Rule("depthwise", "cpu", "shift"),
    Rule("depthwise", "gpu", "shift"),
    Rule("max_pool", "cpu", "argmax"),
    Rule("pointwise", "cpu", "matmul"),
    Rule("pointwise", "gpu", "matmul"),
    # With strides, a product would take pixels out of an image that has to be written first.
    Rule("pointwise", "tpu", "matmul", max_strides=1),
    Rule("convolution", "cpu", "native"),
    # For stems, where copies are cheap enough to be kept for the backward pass.
    Rule("convolution", "cpu", "matmul", max_channels=32, max_groups=1),
    # For the smallest images, a sixth of the time of XLA's own operation.
    Rule("convolution", "cpu", "tiles", max_groups=1, max_width=2),
    Rule("convolution", "cpu", "unpacked", max_groups=1),
    Rule("convolution", "cpu", "tiles"),
    # In experiments/segments.py, XLA's grouped convolutions move up to 1.8 times the bytes a step,
    # most of them within the chip.
    Rule("convolution", "tpu", "blocks"),
    # On a CPU without native kernels, JAX's own derivative was as fast as "sums".
    Rule("batch_norm", "cpu", "native"),
    # 4.5 of the 78 GB of HBM traffic of a step of Xception on each of 16 chips.
    Rule("norm_pool", "tpu", "pool_first"),
)

# Compiler options for programs of these operations, by backend. XLA:CPU removes barriers before it
# fuses, and then repeats the computations that they separate: in max-pooling, it would find the
# winning tap once for every tap.
COMPILER_OPTIONS = {"cpu": {"xla_disable_hlo_passes": "cse_barrier_expander"}}


def choose_implementation(
    operation: str,
    requested: str,
    implementations: Iterable[str],
    *,
    channels: int = 0,
    groups: int = 1,
    width: int = 0,
    strides: int = 1,
) -> str:
    """Returns the name of the implementation to use.

    Args:
        operation: name of the operation in `RULES`.
        requested: name of an implementation, or "auto".
        implementations: names of the available implementations.
        channels: number of input channels.
        groups: number of groups of channels.
        width: width of the output, pixels.
        strides: strides of the operation.

    Raises:
        InputError: `requested` is unknown.
    """
    implementations = tuple(implementations)
    require_choice("implementation", requested, ("auto", *implementations))
    if _references_only.get():
        return REFERENCE
    if requested != "auto":
        return requested
    current = operation, backend()
    applicable = (
        rule.implementation
        for rule in RULES
        if (rule.operation, rule.backend) == current
        and rule.implementation in implementations
        and channels <= rule.max_channels
        and groups <= rule.max_groups
        and width <= rule.max_width
        and strides <= rule.max_strides
    )
    return next(applicable, REFERENCE)


@contextmanager
def references_only() -> Iterator[None]:
    """Makes operations traced inside it use their reference, whatever is requested.

    Programs for counting need it: fast implementations may multiply zeros. So does differentiation
    in forward mode (`jax.jvp`, `jax.linearize`), which most fast implementations do not support.
    """
    token = _references_only.set(True)
    try:
        yield
    finally:
        _references_only.reset(token)


def backend() -> str:
    """Returns the backend that the traced program will run on, which may not be this machine's.

    Inside `shard_map` it is the mesh's, which may belong to a topology that is only compiled for.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform
