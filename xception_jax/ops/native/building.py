"""Building the kernels with the C++ compiler of this machine."""

import os
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import jax

from xception_jax.cores import usable_cores
from xception_jax.errors import InputError
from xception_jax.ops import native

COMPILERS = ("c++", "g++", "clang++")


def compiler() -> list[str] | None:
    """Returns the command that compiles C++: $CXX, or the first of `COMPILERS` on the path.

    Raises:
        InputError: $CXX has a quotation that does not end.
    """
    asked = os.environ.get("CXX", "")
    try:
        from_environment = shlex.split(asked)
    except ValueError as error:
        raise InputError("CXX", asked, f"is not a command: {error}") from error
    installed = ([command] for command in COMPILERS if shutil.which(command))
    return from_environment or next(installed, None)


def build(directory: Path) -> Path:
    """Builds the library of this version into `directory`; returns its path.

    Raises:
        InputError: there is no compiler, it fails, or the library does not load.
        OSError: the directory cannot be written to.
    """
    command = compiler()
    if command is None:
        reason = f"none of {', '.join(COMPILERS)} is there: install one, or name one in CXX"
        raise InputError("C++ compiler", None, reason)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        library = _compile(command, Path(temporary))
        path = directory / f"{native.version()}-{native.digest(library)}.so"
        library = library.replace(library.with_name(path.name))
        try:
            native.handlers_of(library)
        except OSError as error:
            reason = f"built a library that does not load ({error}): name another compiler in CXX"
            raise InputError("C++ compiler", shlex.join(command), reason) from error
        library.replace(path)  # atomic, because other processes may be looking for it
    # Other libraries of this version stay: another machine with the same home may run from them.
    for old in directory.glob(f"{native.version()}-*.so"):
        with suppress(OSError):
            if old.stem.partition("-")[2] != native.digest(old):
                old.unlink()
    return path


def _compile(command: list[str], directory: Path) -> Path:
    """Compiles the library to kernels.so in `directory`, on all usable cores; returns its path."""
    library = directory / "kernels.so"
    objects = [directory / f"{source.stem}.o" for source in native.SOURCES]
    flags = *native.FLAGS, f"-I{jax.ffi.include_dir()}"

    def compile_one(source: Path, made: Path) -> None:
        _call_compiler(command, [*flags, "-c", str(source), "-o", str(made)], made)

    with ThreadPoolExecutor(usable_cores()) as threads:
        list(threads.map(compile_one, native.SOURCES, objects))
    _call_compiler(command, ["-shared", *map(str, objects), "-o", str(library)], library)
    return library


def _call_compiler(command: list[str], arguments: list[str], made: Path) -> None:
    """Calls the compiler; raises InputError if it fails or leaves no file `made`."""
    try:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, errors="replace", check=False
        )
        failed = done.returncode != 0 or not made.is_file()
        message = done.stderr.strip() or f"it ended with {done.returncode}"
    except OSError as error:
        failed, message = True, str(error)
    if failed:
        lines = message.splitlines()
        first = next((line for line in lines if "error" in line), lines[0])
        reason = f"does not compile the kernels ({first[:300]}): name another in CXX (C++17)"
        raise InputError("C++ compiler", shlex.join(command), reason)
