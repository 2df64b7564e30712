"""Takes out of records what they say of the machine: absolute paths and the name of the host."""

import re
import shlex
import socket
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from xception_jax.checksums import has_valid_checksum, with_checksum

# A path of two parts or more, before which stands nothing that it is a part of.
_PATH = re.compile(
    r"""(?<![^\s'"=(\[{<>,;:|])(?:~[\w.-]*)?/(?!/)[^\s'"=(){}\[\]<>,;:|/]+/[^\s'"()<>,;|]*"""
)
_ABSOLUTE = re.compile(r"(?:/(?!/)|~[\w.-]*/)[^\n]")
# Known by their digest, which is in other places too; and they say nothing of a machine.
_DECLARED = ("claims", "post_hoc_claims")
_TOLD = ("reason", "notes")  # in the words of errors, which may name the host


def without_machine(record: Any) -> Any:
    """A copy of plain data without the paths and the host of the machine that wrote it.

    A path below the current directory becomes relative to it; of others the last part stays. The
    directory of the data becomes null, which is where the data are unless a setting says otherwise.
    Checksums that the record and its parts carry, and the chain of declarations, are made anew
    where they were valid: whether something was changed afterwards can be seen as before.
    """
    return _Redaction().of(record)


class _Redaction:
    """One pass over a record; remembers which checksums have become which."""

    def __init__(self) -> None:
        self._checksums: dict[str, str] = {}

    def of(self, value: Any, names: tuple[str, ...] = ()) -> Any:
        """The value without the machine; `names` lead to it from the top of the record."""
        if isinstance(value, str):
            is_of_data = ".".join(names[-2:]).endswith("data.directory")
            return None if is_of_data and _ABSOLUTE.match(value) else _of_text(value, names)
        if isinstance(value, list):
            return [self.of(item, names) for item in value]
        if isinstance(value, dict):
            return self._of_mapping(value, names)
        return value

    def _of_mapping(self, value: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
        content = {
            _of_text(name, ()): item if name in _DECLARED else self.of(item, (*names, name))
            for name, item in value.items()
        }
        previous = content.get("previous")
        if isinstance(previous, str):
            content["previous"] = self._checksums.get(previous, previous)
        if content == value or not has_valid_checksum(value):
            return content
        content = with_checksum(content)
        self._checksums[value["sha256"]] = content["sha256"]
        return content


def _of_text(text: str, names: tuple[str, ...]) -> str:
    name = names[-1] if names else ""
    if _ABSOLUTE.match(text) and (name.endswith("directory") or not re.search(r"\s", text)):
        return _short(text)
    if name == "command":
        text = _of_command(text)
    text = _PATH.sub(lambda path: _short(path[0]), text)
    return _without_host(text) if name in _TOLD else text


def _of_command(text: str) -> str:
    """A command line, whose words may be paths with spaces in them, or `name=path`."""
    try:
        words = shlex.split(text)
    except ValueError:
        return text
    shown = []
    for word in words:
        name, equals, value = word.rpartition("=")
        shown.append(f"{name}{equals}{_short(value)}" if _ABSOLUTE.match(value) else word)
    return text if shown == words else shlex.join(shown)


def _short(path: str) -> str:
    """The path relative to the current directory if it lies below that, else its last part."""
    pure, current = PurePosixPath(path), Path.cwd()
    if current.name and pure.is_relative_to(current):
        return str(pure.relative_to(current))
    return pure.name


def _without_host(text: str) -> str:
    return re.sub(rf"(?<![\w.-]){re.escape(socket.gethostname())}(?![\w-])", "this host", text)
