"""A cache on disk of traced programs, beside JAX's cache of compiled ones.

JAX looks a compiled program up by its traced and lowered form, and tracing takes longer than all
the rest of a start. Here that form (StableHLO) is looked up by what it is made from: the program's
settings, the shapes and shardings of its arguments, the code of this package, and the versions and
options of the libraries. Whoever can write to JAX's cache decides what runs in any case, so this
one adds no risk.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
from jax import export

from xception_jax.ops import native
from xception_jax.regular_files import read_regular
from xception_jax.runtime import run_directory as files
from xception_jax.runtime.source_code import package_digest

_DIRECTORY = "traced"
_DIGEST = hashlib.sha256().digest_size


def traced(
    function: Callable[..., Any],
    arguments: Sequence[jax.ShapeDtypeStruct],
    about: Sequence[object],
) -> Callable[..., Any]:
    """The traced form of a function, from the cache if an earlier process has traced it.

    The process that traces it also continues with the exported form, so that all processes run the
    same program.

    Args:
        function: pure function of arrays that returns arrays, also in lists and dictionaries.
        arguments: shapes, dtypes and shardings of its arguments.
        about: everything but this package's code that the function depends on: if its `repr` is
            equal, the function is taken to be the same.
    """
    path = _path(about, arguments)
    exported = _read(path)
    if exported is None:
        # Our kernels are safe to export: the cache's key holds their versions.
        checks = [export.DisabledSafetyCheck.custom_call(name) for name in native.targets()]
        exported = export.export(jax.jit(function), disabled_checks=checks)(*arguments)
        _write(path, bytes(exported.serialize()))
    call: Callable[..., Any] = exported.call
    return call


def keeps(devices: Iterable[jax.Device]) -> bool:
    """Whether traced programs for these devices are cached: on CPU, with JAX's cache on a disk.

    On accelerators it was not measured, and compiling takes much longer than tracing there.
    """
    directory = _compiled_programs()
    if not directory or "://" in directory or jax.process_count() > 1:
        return False
    return all(device.platform == "cpu" for device in devices)


def _compiled_programs() -> str | None:
    directory: str | None = jax.config.values["jax_compilation_cache_dir"]
    return directory


def _path(about: Sequence[object], arguments: Sequence[jax.ShapeDtypeStruct]) -> Path:
    content = [
        repr(list(about)),
        [(x.shape, x.dtype.name, str(x.sharding)) for x in arguments],
        package_digest(),
        files.versions(),
        _options(),
        native.targets(),
    ]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return Path(_compiled_programs() or "") / _DIRECTORY / key


def _options() -> str:
    """The current values of all options of JAX, any of which may change what is traced."""
    return repr([(name, getattr(jax.config, name, None)) for name in sorted(jax.config.values)])


def _read(path: Path) -> export.Exported | None:
    """The cached program at a path; None if there is none or it is damaged."""
    try:
        content = read_regular(path)
    except OSError:
        return None
    digest, traced = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(traced).digest() != digest:
        return None
    return export.deserialize(bytearray(traced))


def _write(path: Path, traced: bytes) -> None:
    with suppress(OSError):  # the next process traces again
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, hashlib.sha256(traced).digest() + traced)
