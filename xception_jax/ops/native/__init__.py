"""Kernels in C++ for a CPU, where somebody has built them; each `.cc` file says what it computes.

`python -m xception_jax.ops.native` (or `make kernels`) builds them into the user's cache. Nothing
needs them: the operations have a formulation in JAX alone, which is taken where there are none, and
for what they do not do. XCEPTION_JAX_KERNELS=off has them left alone.
"""

import ctypes
import hashlib
import logging
import os
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
from xception_jax.errors import one_line, require_choice
from xception_jax.ops.dispatch import backend

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cc")))
HEADER = Path(__file__).with_name("parts.h")
# Every compiler's: no -march, for machines of several kinds may share the cache.
FLAGS = ("-std=c++17", "-O2", "-ffp-contract=fast", "-fPIC", "-shared")
BUILD = "python -m xception_jax.ops.native"
TARGETS = ("depthwise", "depthwise_gradients", "column_sums")
_portable = ContextVar("portable", default=False)


@lru_cache(maxsize=1)
def version() -> str:
    """A digest of what a library is made from, but for the compiler: any will do."""
    made_from = (jaxlib_version, *FLAGS, sys.platform, platform.machine())
    text = b"".join(path.read_bytes() for path in (HEADER, *SOURCES))
    return hashlib.sha256(text + repr(made_from).encode()).hexdigest()[:16]


def directory() -> Path:
    """Where libraries are: VERSION-DIGEST.so, the digest being that of the file itself."""
    return cache_directory() / "kernels"


def available() -> bool:
    """Whether the library of this version is built, loads, and is not switched off.

    Raises:
        InputError: XCEPTION_JAX_KERNELS is neither "on" nor "off".
    """
    asked = os.environ.get("XCEPTION_JAX_KERNELS", "on")
    require_choice("XCEPTION_JAX_KERNELS", asked, ("on", "off"))
    return asked == "on" and any(map(load, sorted(directory().glob(f"{version()}-*.so"))))


@lru_cache
def load(path: Path) -> bool:
    """Has JAX know the kernels in the library `path`; one that is damaged is warned of, once."""
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
    """The functions in a library, by their names in `TARGETS`.

    Raises:
        OSError: it is not what was written, or does not load. To load a file that was cut short can
            kill the process: its digest is compared with its name first.
    """
    if path.stem.partition("-")[2] != digest(path):
        raise OSError("its content is not what was written")
    library = ctypes.CDLL(str(path))
    try:
        return {name: getattr(library, f"xception_jax_{name}") for name in TARGETS}
    except AttributeError as error:
        raise OSError(str(error)) from error


def digest(path: Path) -> str:
    """Of a library's content, as its name has it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def targets() -> list[str]:
    """What the kernels are called in a program that may use them; empty: none are available."""
    return [_target(name) for name in TARGETS] if available() else []


def _target(name: str) -> str:
    # With the version: a compiled program in a cache finds the kernels it was made for, or none.
    return f"xception_jax_{name}_{version()}"


@contextmanager
def portable() -> Iterator[None]:
    """What is traced inside uses no kernels: it is to run elsewhere."""
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def computes(*arrays: Array) -> bool:
    """Whether there are kernels for such arrays, where they will be: narrow floats on a CPU."""
    narrow = all(a.dtype in ("float32", "bfloat16", "float16") for a in arrays)
    return narrow and backend() == "cpu" and not _portable.get()


def call(name: str, like: Any, *arrays: Array, **attributes: Any) -> Any:
    """The results of the kernel `name`; under `vmap` it is called once, for all.

    Args:
        name: in `TARGETS`.
        like: `jax.typeof` the result, or a list of several.
        arrays: float32.
        attributes: integers.
    """
    function = jax.ffi.ffi_call(_target(name), like, vmap_method="broadcast_all")
    return function(*arrays, **attributes)
