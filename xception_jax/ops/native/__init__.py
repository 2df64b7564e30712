"""Optional C++ kernels for CPUs; each `.cc` file says what it computes.

`make install` builds them into the user's cache if there is a compiler; elsewhere
`python -m xception_jax.ops.native` (or `make kernels`) does. They are never required: every
operation also has an implementation in JAX, which is used if the kernels are not built or do not
support the arguments. With XCEPTION_JAX_KERNELS=off they are neither built nor used.
"""

import ctypes
import hashlib
import logging
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
from jaxlib.version import __version__ as jaxlib_version
from jaxtyping import Array

from xception_jax.cache import cache_directory
from xception_jax.errors import one_line
from xception_jax.ops.dispatch import backend
from xception_jax.regular_files import read_regular
from xception_jax.switches import is_on

SOURCES = tuple(sorted(Path(__file__).parent.glob("[!.]*.cc")))  # no lock of an editor
HEADER = Path(__file__).with_name("parts.h")
# Flags that every compiler knows. No -march, because machines of several kinds may share the cache.
FLAGS = ("-std=c++17", "-O2", "-ffp-contract=fast", "-fPIC")
BUILD = "python -m xception_jax.ops.native"
TARGETS = (
    "depthwise",
    "depthwise_gradients",
    "convolution",
    "convolution_for_x",
    "convolution_for_kernel",
    "column_sums",
)
_portable = ContextVar("portable", default=False)


@lru_cache(maxsize=1)
def version() -> str:
    """Returns a digest of everything a library is made from, except the compiler."""
    build_settings = (jaxlib_version, *FLAGS, sys.platform, platform.machine())
    source = b"".join(path.read_bytes() for path in (HEADER, *SOURCES))
    return hashlib.sha256(source + repr(build_settings).encode()).hexdigest()[:16]


def directory() -> Path:
    """Returns the directory of built libraries, VERSION-DIGEST.so with the digest of the file."""
    return cache_directory() / "kernels"


@lru_cache(maxsize=1)  # one answer for a process, whose operations ask when they are imported
def available() -> bool:
    """Returns whether the library of this version is built, loads, and is not disabled.

    Raises:
        InputError: see `enabled`.
    """
    newest_first = sorted(directory().glob(f"{version()}-*.so"), key=_age)
    return enabled() and any(map(load, newest_first))


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:  # deleted meanwhile
        return 0


def enabled() -> bool:
    """Returns whether kernels may be built and used: not if XCEPTION_JAX_KERNELS is "off".

    Raises:
        InputError: XCEPTION_JAX_KERNELS is neither "on" nor "off".
    """
    return is_on("XCEPTION_JAX_KERNELS")


@lru_cache
def load(path: Path) -> bool:
    """Registers the kernels in the library `path` with JAX; warns once if it is damaged.

    Returns:
        Whether the kernels can be used.
    """
    try:
        handlers = handlers_of(path)
    except OSError as error:
        message = "%s is not used (%s): delete it, then run %s"
        logging.getLogger(__name__).warning(message, path, one_line(error), BUILD)
        return False
    for name, handler in handlers.items():
        capsule = jax.ffi.pycapsule(handler)
        jax.ffi.register_ffi_target(_target(name), capsule, platform="cpu")
    return True


def handlers_of(path: Path) -> dict[str, Any]:
    """Loads a library and returns its functions, by their names in `TARGETS`.

    Raises:
        OSError: the file was changed after it was written, or does not load. Its digest is compared
            with its name first, because loading a truncated file can kill the process.
    """
    if path.stem.partition("-")[2] != digest(path):
        raise OSError("its content was changed after it was written")
    library = ctypes.CDLL(str(path))
    try:
        return {name: getattr(library, f"xception_jax_{name}") for name in TARGETS}
    except AttributeError as error:
        raise OSError(str(error)) from error


def digest(path: Path) -> str:
    """Returns the digest of a library's content, which is part of its name."""
    return hashlib.sha256(read_regular(path)).hexdigest()[:16]


def targets() -> list[str]:
    """Returns the kernels' names in compiled programs; empty if no kernels are available."""
    return [_target(name) for name in TARGETS] if available() else []


def _target(name: str) -> str:
    # The version is included so that a cached program finds the kernels it was made for, or none.
    return f"xception_jax_{name}_{version()}"


@contextmanager
def portable() -> Iterator[None]:
    """Makes operations traced inside it use no kernels, for programs that run on other machines."""
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def computes(*arrays: Array) -> bool:
    """Returns whether kernels may compute from the arrays.

    They may from float32, bfloat16 and float16, on a CPU, and not inside of `portable`.
    """
    narrow = all(a.dtype in ("float32", "bfloat16", "float16") for a in arrays)
    return narrow and backend() == "cpu" and not _portable.get()


def call(name: str, like: Any, *arrays: Array, **attributes: Any) -> Any:
    """Calls the kernel `name`; under `vmap` it is called once for the whole batch.

    Args:
        name: name of the kernel, in `TARGETS`.
        like: type of the result as from `jax.typeof`, or a sequence of types of several results.
        arrays: arguments of the kernel, of dtype float32.
        attributes: integer arguments of the kernel.

    Returns:
        The result, or a list of the results.
    """
    function = jax.ffi.ffi_call(_target(name), like, vmap_method="broadcast_all")
    return function(*arrays, **attributes)
