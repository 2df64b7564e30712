"""The command `python -m xception_jax.ops.native`, which builds the C++ kernels."""

import argparse
import sys
from pathlib import Path

from xception_jax.cache import lasting_cache_directory
from xception_jax.errors import FAILED, INVALID, InputError, one_line
from xception_jax.ops.native import available, directory, enabled
from xception_jax.ops.native.building import build


def main() -> int:
    """Builds the kernels and returns the exit code.

    Prints the path of the library. With --if-possible it prints in one line what became of the
    kernels, builds none that are there, and never fails: they are optional.
    """
    parser = argparse.ArgumentParser(prog="python -m xception_jax.ops.native", description=__doc__)
    parser.add_argument(
        "--if-possible", action="store_true", help="say so, instead of failing, if there are none"
    )
    if parser.parse_args().if_possible:
        print(f"C++ kernels: {_build_if_possible()}")  # noqa: T201 - the program's output
        return 0
    try:
        print(_build())  # noqa: T201 - the program's only output
    except InputError as error:
        print(f"{error}", file=sys.stderr)  # noqa: T201
        return INVALID
    except OSError as error:  # such as a full disk, for which nobody's input is to blame
        print(f"C++ kernels: {one_line(error)}", file=sys.stderr)  # noqa: T201
        return FAILED
    return 0


def _build() -> Path:
    """Builds the kernels where later processes find them, and returns the path of the library."""
    lasting_cache_directory("the library of C++ kernels")  # refuses a temporary one
    return build(directory())


def _build_if_possible() -> str:
    """Builds kernels if that is possible, and needed; returns what became of it, in words."""
    try:
        if not enabled():
            return "none, because XCEPTION_JAX_KERNELS=off"
        if available():
            return f"already built, in {directory()}"
        return f"built {_build()}"
    except (InputError, OSError) as error:
        return f"none, and the operations of JAX are used instead ({one_line(error)})"


if __name__ == "__main__":
    sys.exit(main())
