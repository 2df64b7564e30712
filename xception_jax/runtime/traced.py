"""Traced programs, kept beside the compiled ones: the next process need not trace them again.

JAX finds a compiled program by its traced and lowered form, which takes longer to make than all the
rest of a start. Here that form (StableHLO) is found by what it is made from: the program's
settings, the shapes and places of its arguments, the code of this package, the versions and options
of the others. Whoever can write to the directory of compiled programs decides what runs in any
case: this adds nothing to that.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
from jax import export

from xception_jax.ops import native
from xception_jax.runtime import run_directory as files

_DIRECTORY = "traced"
_PACKAGE = Path(__file__).resolve().parents[1]
_DIGEST = hashlib.sha256().digest_size


def traced(
    function: Callable[..., Any],
    arguments: Sequence[jax.ShapeDtypeStruct],
    about: Sequence[object],
) -> Callable[..., Any]:
    """A function of arrays as this process traces it, or as an earlier one did.

    The process that traces goes on with what it keeps, so that both run the same program.

    Args:
        function: returns arrays, in lists and dictionaries if need be; pure.
        arguments: shapes, types and shardings.
        about: what the function is made from, but for this package's code: with equal `repr` it is
            the same function.
    """
    path = _path(about, arguments)
    kept = _read(path)
    if kept is None:
        # Kernels are no risk here: what names them is found by their version only.
        checks = [export.DisabledSafetyCheck.custom_call(name) for name in native.targets()]
        kept = export.export(jax.jit(function), disabled_checks=checks)(*arguments)
        _write(path, bytes(kept.serialize()))
    call: Callable[..., Any] = kept.call
    return call


def keeps(devices: Iterable[jax.Device]) -> bool:
    """Whether programs for these devices are kept: on CPU, where JAX keeps the compiled ones.

    Elsewhere this is not measured, and compiling takes much longer than tracing.
    """
    directory = _compiled_programs()
    here = directory is not None and "://" not in directory and jax.process_count() == 1
    return here and all(device in jax.devices("cpu") for device in devices)


def _compiled_programs() -> str | None:
    directory: str | None = jax.config.values["jax_compilation_cache_dir"]
    return directory


def _path(about: Sequence[object], arguments: Sequence[jax.ShapeDtypeStruct]) -> Path:
    described = [(x.shape, x.dtype.name, str(x.sharding)) for x in arguments]
    content = [
        repr(list(about)),
        described,
        _code(),
        files.versions(),
        _options(),
        native.targets(),
    ]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return Path(_compiled_programs() or "") / _DIRECTORY / key


@lru_cache(maxsize=1)
def _code() -> str:
    """A digest of this package's own."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(_PACKAGE)} ".encode() + path.read_bytes())
    return digest.hexdigest()


def _options() -> str:
    """Of JAX, here and now: any of them may change what is traced."""
    return repr([(name, getattr(jax.config, name, None)) for name in sorted(jax.config.values)])


def _read(path: Path) -> export.Exported | None:
    """What lies there; None: nothing that is whole."""
    try:
        content = path.read_bytes()
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
