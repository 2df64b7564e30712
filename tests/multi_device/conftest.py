"""Eight virtual devices, for which these tests have a pytest process of their own.

`make test` runs `pytest tests/multi_device` before the rest: how many devices a process has is
decided once, before JAX starts, and the rest of the suite has one.
"""

import os

import pytest

# Of two values, XLA takes the last. Without LLVM's optimization, float32 sums are those of one long
# chain, and round more than the sums over eight devices with which they are compared.
os.environ["XLA_FLAGS"] += (
    " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=1"
)


@pytest.fixture(autouse=True, scope="session")
def eight_devices() -> None:
    import jax

    assert jax.device_count() == 8, "tests/multi_device needs a pytest process of its own"
