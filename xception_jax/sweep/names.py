"""Names of experiments, arms and bases, which become parts of the names of directories."""

import re
from typing import Any

from xception_jax.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def require_name(label: str, name: Any) -> None:
    """Raises `InputError` unless `name` can be part of a directory's name.

    Args:
        label: the field that the error names.
        name: the name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        near = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(name)).strip("-._")[:64] or None
        raise InputError(label, name, "must be up to 64 letters, digits, '_', '.' or '-'", near)
