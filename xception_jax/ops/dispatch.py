"""What `implementation="auto"` stands for: one table for all operations, and how it is read.

Rules for CPU were measured on whole train steps of Xception on two cores. Those for TPU go by what
its compiler counts (`benchmarks/topology.py`), which is no measured time. Those for GPU are not
measured here. Where nothing is known to be faster, XLA's own operation is taken.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import jax

from xception_jax.errors import require_choice

REFERENCE = "lax"


@dataclass(frozen=True)
class Rule:
    """On `backend`, `implementation` is the fastest for up to so many input channels."""

    operation: str
    backend: str
    implementation: str
    most_channels: float = inf


# The first rule that fits decides, if its implementation is there; where none does, the reference.
RULES = (
    Rule("depthwise", "cpu", "native"),
    Rule("depthwise", "cpu", "shift"),
    Rule("depthwise", "gpu", "shift"),
    Rule("max_pool", "cpu", "argmax"),
    Rule("pointwise", "cpu", "matmul"),
    Rule("pointwise", "gpu", "matmul"),
    Rule("pointwise", "tpu", "matmul"),
    # A stem's: with more channels, what the copies cost in time to compile is not worth it.
    Rule("convolution", "cpu", "matmul", most_channels=32),
    # On a CPU without kernels, the derivative that JAX derives was as fast as "sums".
    Rule("batch_norm", "cpu", "native"),
)

# By backend, what a program of these operations is to be compiled with. XLA:CPU takes barriers out
# before it fuses, and then computes anew what they should keep apart: of a pooled image, which tap
# won, once for each tap (issue 4).
COMPILER_OPTIONS = {"cpu": {"xla_disable_hlo_passes": "cse_barrier_expander"}}


def choose_implementation(
    operation: str, requested: str, implementations: Iterable[str], *, channels: int = 0
) -> str:
    """The implementation that is meant.

    Args:
        operation: as in `RULES`.
        requested: the name of an implementation, or "auto".
        implementations: all there are.
        channels: of the input.

    Raises:
        InputError: an implementation that does not exist.
    """
    implementations = tuple(implementations)
    require_choice("implementation", requested, ("auto", *implementations))
    if requested != "auto":
        return requested
    here = backend()
    fitting = (
        rule.implementation
        for rule in RULES
        if (rule.operation, rule.backend) == (operation, here)
        and rule.implementation in implementations
        and channels <= rule.most_channels
    )
    return next(fitting, REFERENCE)


def backend() -> str:
    """The backend of the devices that what is traced will run on; they need not be this machine's.

    Inside `shard_map` they are the mesh's, be it that of a topology which is only compiled for.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform
