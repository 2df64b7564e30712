"""Prints the devices and XLA's threads of a process with a control group, given as a root."""

import os
import sys
from pathlib import Path

from xception_jax import cores


def main() -> None:
    given, real = Path(sys.argv[1]), cores._groups
    os.sched_getaffinity = lambda _: set(range(64))
    cores._groups = lambda root: real(given)

    from xception_jax.commands.process import prepare_jax

    prepare_jax(packs=True)
    import jax
    import jax.numpy as jnp

    jax.jit(jnp.dot)(jnp.ones((64, 64)), jnp.ones((64, 64))).block_until_ready()
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    print(jax.device_count(), sum(name.startswith("tf_XLAEigen") for name in names))


if __name__ == "__main__":
    main()
