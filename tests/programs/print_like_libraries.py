"""Prints as libraries do, and as this program does, while the former is kept apart.

Its words are a directory (the null device: nobody keeps it) and, if need be, what happens: "fail",
"silent", or "full", a disk on which there is no more space.
"""

import logging
import os
import resource
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


def complain() -> None:
    """Fails there, as when Orbax has given up a save and TensorStore has not."""
    unheard = Unheard()
    del unheard


if __name__ == "__main__":
    warn("before")
    how = sys.argv[2:]
    early = logging.getLogger("absl")
    early.addHandler(logging.StreamHandler())
    with kept_apart(None if sys.argv[1] == os.devnull else Path(sys.argv[1])):
        if how == ["silent"]:
            sys.exit()
        os.write(2, b"of a C++ library\n")
        subprocess.run(["sh", "-c", "echo of a child >&2"], check=True)
        if how == ["full"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        warnings.warn("of a Python package", stacklevel=1)
        logging.getLogger("asyncio").error("Task exception was never retrieved")
        early.error("of a logger that has the standard error of before")
        complain()
        if how == ["fail"]:
            raise RuntimeError("of ours")
        warn("of ours ± 1")
        last_words("last words")
    complain()
    warn("after")
