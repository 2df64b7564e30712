"""Prints as libraries do, and as this program does, while the former is kept apart."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

from xception_jax.commands.console import warn
from xception_jax.commands.library_output import kept_apart
from xception_jax.errors import last_words


class Unheard:
    """Fails where nobody can catch it, as TensorStore's threads do."""

    def __del__(self) -> None:
        raise RuntimeError("that nobody catches")


if __name__ == "__main__":
    warn("before")
    with kept_apart(Path(sys.argv[1])):
        os.write(2, b"of a C++ library\n")
        subprocess.run(["sh", "-c", "echo of a child >&2"], check=True)
        warnings.warn("of a Python package", stacklevel=1)
        logging.getLogger("asyncio").error("Task exception was never retrieved")
        unheard = Unheard()
        del unheard
        if len(sys.argv) > 2:
            raise RuntimeError("of ours")
        warn("of ours ± 1")
        last_words("last words")
    warn("after")
