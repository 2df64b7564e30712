"""Building the kernels with the C++ compiler that is there."""

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax

from xception_jax.errors import InputError
from xception_jax.ops import native

COMPILERS = ("c++", "g++", "clang++")


def compiler() -> list[str] | None:
    """The command that compiles C++: $CXX, or the first of `COMPILERS` on the path."""
    named = shlex.split(os.environ.get("CXX", ""))
    found = (command for command in COMPILERS if shutil.which(command))
    return named or next(([command] for command in found), None)


def build(directory: Path) -> Path:
    """Builds the library of this version into `directory`; returns its path.

    Raises:
        InputError: no compiler, one that does not compile this, or a library that does not load.
    """
    command = compiler()
    if command is None:
        reason = f"none of {', '.join(COMPILERS)} is there: install one, or name one in CXX"
        raise InputError("C++ compiler", None, reason)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        made = _compile(command, Path(temporary))
        path = directory / f"{native.version()}-{native.digest(made)}.so"
        try:
            native.handlers_of(made.replace(made.with_name(path.name)))
        except OSError as error:
            reason = f"built what does not load ({error}): name another in CXX"
            raise InputError("C++ compiler", shlex.join(command), reason) from error
        made.with_name(path.name).replace(path)  # at once: others may be looking for it
    for old in directory.glob(f"{native.version()}-*.so"):
        if old != path:
            old.unlink(missing_ok=True)
    return path


def _compile(command: list[str], directory: Path) -> Path:
    """The library, as [directory]/kernels.so."""
    made = directory / "kernels.so"
    sources = map(str, native.SOURCES)
    arguments = [*native.FLAGS, f"-I{jax.ffi.include_dir()}", *sources, "-o", str(made)]
    try:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, errors="replace", check=False
        )
        failed = done.returncode != 0 or not made.is_file()
        said = done.stderr.strip() or f"it ended with {done.returncode}"
    except OSError as error:
        failed, said = True, str(error)
    if failed:
        lines = said.splitlines()
        first = next((line for line in lines if "error" in line), lines[0])
        reason = f"does not compile the kernels ({first[:300]}): name another in CXX (C++17)"
        raise InputError("C++ compiler", shlex.join(command), reason)
    return made
