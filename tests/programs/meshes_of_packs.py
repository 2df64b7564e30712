"""Prints the devices of six cores, and the mesh of packs with so many slots ("none": alone)."""

import os
import sys


def six_cores(_: int) -> set[int]:
    return set(range(6))


def main() -> None:
    os.sched_getaffinity = six_cores

    from xception_jax import cores
    from xception_jax.commands.process import prepare_jax

    cores._groups = lambda root: iter(())  # a quota of the machine that the test runs on
    prepare_jax(packs=True)
    import jax

    from xception_jax.training.sharding import cpu_devices_of_packs, make_mesh

    print(jax.device_count(), cpu_devices_of_packs())
    for word in sys.argv[1:]:
        slots = None if word == "none" else int(word)
        mesh = make_mesh(slots=slots)
        print(slots, *mesh.shape.values(), mesh.devices[0, 0].id)


if __name__ == "__main__":
    main()
