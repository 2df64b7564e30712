"""The refusal of files to import: one line, and nothing is left behind."""

from pathlib import Path

import pytest

from xception_jax.data import prepare
from xception_jax.errors import InputError
from xception_jax.records import LOCK


def refusal(name: str, path: Path) -> str:
    """The message of the refusal; of the data set nothing may be left but a lock."""
    prepared = path.parent / "prepared"
    with pytest.raises(InputError) as caught:
        prepare(name, str(prepared), str(path))
    files = {file.name for file in prepared.rglob("*") if file.is_file()}
    assert files <= {LOCK}
    assert "\n" not in str(caught.value)
    return str(caught.value)
