"""Puts the files of a report or an archive in place, each at once: no reader sees half of one."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from xception_jax.errors import InputError
from xception_jax.regular_files import write_regular


def place_files(directory: Path, contents: Mapping[str, bytes], *, field: str) -> tuple[Path, ...]:
    """Writes all files under other names, then gives them theirs, in their order.

    Args:
        directory: their directory, which is created if need be.
        contents: the contents of the files, by name.
        field: what names the directory, for error messages.

    Returns:
        Their paths.

    Raises:
        InputError: they cannot be written.
    """
    try:
        directory.mkdir(exist_ok=True)
        with _temporary_names(directory, contents) as temporary:
            for name, content in contents.items():
                write_regular(temporary[name], content)
            for name, path in temporary.items():
                path.replace(directory / name)
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
        raise InputError(field, str(directory), reason) from error
    return tuple(directory / name for name in contents)


@contextlib.contextmanager
def _temporary_names(directory: Path, names: Mapping[str, bytes]) -> Iterator[dict[str, Path]]:
    paths = {name: directory / f".{name}.{os.getpid()}" for name in names}
    try:
        yield paths
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)
