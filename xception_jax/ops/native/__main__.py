"""`python -m xception_jax.ops.native` builds the kernels; see `build`."""

import sys

from xception_jax.errors import INVALID, InputError
from xception_jax.ops.native import directory
from xception_jax.ops.native.building import build


def main() -> int:
    """The exit code."""
    try:
        print(build(directory()))  # noqa: T201 - all that this program says
    except InputError as error:
        print(f"{error}", file=sys.stderr)  # noqa: T201
        return INVALID
    return 0


if __name__ == "__main__":
    sys.exit(main())
