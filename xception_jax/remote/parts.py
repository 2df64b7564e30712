"""A growing file in a store that cannot append: as parts, which together are the file.

`metrics.jsonl.parts/000002-000000001340` begins at byte 1,340 of the second generation. When the
file no longer begins with what was sent (a resumed run writes rows anew), or there are many parts,
the next generation begins, with all of it in its first part; then the older one is deleted. The
newest generation is the file, at every moment.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from xception_jax.errors import InputError
from xception_jax.remote.store import Store

_MOST = 100  # parts of a generation
_PART = re.compile(r"(?P<file>.+)\.parts/(?P<generation>\d{6})-(?P<start>\d{12})", re.DOTALL)


@dataclass
class _Sent:
    generation: int
    length: int
    digest: bytes
    parts: list[str]


class Parts:
    """Sends the lines of files; what other processes sent of them is known by its names.

    Args:
        store: where to.
        names: of the objects there.
    """

    def __init__(self, store: Store, names: Iterable[str]) -> None:
        self._store = store
        self._sent = {
            file: _Sent(max(starts), -1, b"", [name for names in starts.values() for name in names])
            for file, starts in _found(names).items()
        }

    def send(self, file: str, content: bytes) -> None:
        """Brings the object to `content`, up to its last whole line."""
        content = content[: content.rfind(b"\n") + 1]
        sent = self._sent.get(file, _Sent(0, -1, b"", []))
        goes_on = 0 <= sent.length <= len(content) and len(sent.parts) < _MOST
        if goes_on and hashlib.sha256(content[: sent.length]).digest() == sent.digest:
            generation, start, parts, old = sent.generation, sent.length, sent.parts, []
        else:
            generation, start, parts, old = sent.generation + 1, 0, [], sent.parts
        if start < len(content) or not parts:
            name = f"{file}.parts/{generation:06d}-{start:012d}"
            self._store.write(name, content[start:])
            parts = [*parts, name]
        self._store.delete(old)
        digest = hashlib.sha256(content).digest()
        self._sent[file] = _Sent(generation, len(content), digest, parts)

    def forget(self, file: str) -> None:
        """Deletes what was sent of a file that is gone."""
        if file in self._sent:
            self._store.delete(self._sent.pop(file).parts)

    @property
    def files(self) -> frozenset[str]:
        """Of which there are parts."""
        return frozenset(self._sent)


def joined(store: Store, names: Iterable[str]) -> dict[str, bytes]:
    """The content of every file that is there in parts.

    Raises:
        InputError: a part is missing.
    """
    files = {}
    for file, generations in _found(names).items():
        content = b""
        newest = generations[max(generations)]
        for name in sorted(newest):
            if int(name.rpartition("-")[2]) != len(content):
                reason = f"a part of {file} is missing or cut before {name}"
                raise InputError("directory", store.url, reason)
            content += store.read(name)
        files[file] = content
    return files


def is_part(name: str) -> bool:
    """Whether an object is a part of a file."""
    return _PART.fullmatch(name) is not None


def _found(names: Iterable[str]) -> dict[str, dict[int, list[str]]]:
    """The names of the parts by file and generation."""
    found: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        if match := _PART.fullmatch(name):
            found[match["file"]][int(match["generation"])].append(name)
    return found
