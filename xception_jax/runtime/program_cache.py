"""The directory of JAX's cache of compiled programs: one for each kind of processor, and healed.

Homes are shared by machines whose processors have other instructions, for which a program may be
refused, or may not run. JAX writes an entry in place, so that a kill can leave a part of one; and
it keeps an entry that it cannot read, so that the program is compiled at every start.
"""

import hashlib
import importlib
import json
import logging
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from xception_jax.cache import cache_directory, distrust
from xception_jax.regular_files import read_regular
from xception_jax.runtime.run_directory import write_whole

_ENTRIES = "*-cache"
_DIGESTS = "digests.json"
_MOST = 1 << 29  # bytes that are read to check entries; beyond, entries are not checked
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def program_directory() -> Path:
    """Returns the directory for this processor's programs, without entries that are damaged."""
    directory = cache_directory() / "programs" / _processor()
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        _heal(directory)
    return directory


def is_trusted(directory: str) -> bool:
    """Whether programs are loaded from a directory that JAX_COMPILATION_CACHE_DIR names.

    It is created if it does not exist. The reason against it is logged.

    Args:
        directory: the variable's value; URLs of object stores are not checked.
    """
    if "://" in directory:
        return True
    path = Path(directory)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = distrust(path)
    except OSError as error:
        reason = " ".join(str(error).split())
    if reason:
        logging.getLogger(__name__).warning(
            "JAX_COMPILATION_CACHE_DIR is not used, so programs are compiled again: %s", reason
        )
    return not reason


def _processor() -> str:
    """A name for all processors with the same instructions."""
    features = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(
            (line for line in lines if line.lower().startswith(("flags", "features"))), features
        )
    digest = hashlib.sha256(" ".join(sorted(features.split())).encode()).hexdigest()
    return f"{platform.machine()}-{digest[:8]}"


def _heal(directory: Path) -> None:
    """Deletes entries that changed since they were first seen, and new ones that are not whole."""
    path = directory / _DIGESTS
    known: dict[str, str] = {}
    with suppress(OSError, ValueError, AttributeError):
        known = dict(json.loads(read_regular(path)).items())
    if sum(entry.stat().st_size for entry in directory.glob(_ENTRIES)) > _MOST:
        return
    current = dict(_digests(directory, known))
    if current != known:
        write_whole(path, json.dumps(current))


def _digests(directory: Path, known: dict[str, str]) -> Iterator[tuple[str, str]]:
    for entry in sorted(directory.glob(_ENTRIES)):
        content = read_regular(entry)
        digest = hashlib.sha256(content).hexdigest()
        if known.get(entry.name, digest) == digest and (entry.name in known or _is_whole(content)):
            yield entry.name, digest
        else:
            entry.unlink(missing_ok=True)


def _is_whole(content: bytes) -> bool:
    """Whether an entry can be unpacked, as far as this Python can tell."""
    packed_by = ("compression.zstd", "zstandard") if content.startswith(_ZSTANDARD) else ("zlib",)
    for name in packed_by:
        try:
            unpack = importlib.import_module(name).decompress
        except ImportError:
            continue
        try:
            unpack(content)
        except Exception:  # each has an error of its own
            return False
    return True
