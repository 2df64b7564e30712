"""The command `python -m xception_jax.ops.native`, which builds the C++ kernels."""

import sys

from xception_jax.errors import INVALID, InputError
from xception_jax.ops.native import directory
from xception_jax.ops.native.building import build


def main() -> int:
    """Builds the kernels, prints the path of the library, and returns the exit code."""
    try:
        print(build(directory()))  # noqa: T201 - the program's only output
    except InputError as error:
        print(f"{error}", file=sys.stderr)  # noqa: T201
        return INVALID
    return 0


if __name__ == "__main__":
    sys.exit(main())
