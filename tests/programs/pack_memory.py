"""Prints the MB that a process holds at most while a pack of an arm trains, and what was forecast.

What is printed first is measured from before the pack's first step to its end, in Linux's terms the
high-water mark of the resident set.
"""

import ctypes
import sys
from pathlib import Path

from xception_jax.commands.process import prepare_jax


def resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def main() -> None:
    prepare_jax(packs=True)
    from xception_jax.sweep.experiment import plan_runs
    from xception_jax.sweep.loading import load_experiment
    from xception_jax.sweep.measurement import prepare_trial
    from xception_jax.training.setup import open_data

    path, arm, slots = sys.argv[1:]
    runs = plan_runs(*load_experiment(path))
    config = next(run.config for run in runs if run.arm == arm)
    activation = config.model.block.intermediate_activation
    trial = prepare_trial(
        config, open_data(config), None if slots == "none" else int(slots), (activation,)
    )
    ctypes.CDLL(None).malloc_trim(0)  # what compilation has freed is no memory that is needed
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    for _ in range(8):
        trial.time()
    print(resident("VmHWM") / 1e6, (before + trial.memory_bytes) / 1e6, trial.memory_bytes / 1e6)


if __name__ == "__main__":
    main()
