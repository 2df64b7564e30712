"""The refusal of files to import: one line, and nothing is left behind."""

from pathlib import Path

import pytest

from xception_jax.data import prepare
from xception_jax.errors import InputError


def refusal(name: str, path: Path) -> str:
    """The message of the refusal; nothing may be left of the data set."""
    prepared = path.parent / "prepared"
    with pytest.raises(InputError) as caught:
        prepare(name, str(prepared), str(path))
    assert not list(prepared.rglob("*.json"))
    assert "\n" not in str(caught.value)
    return str(caught.value)
