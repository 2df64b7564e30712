"""What a run records of the code that it came from."""

from pathlib import Path

import pytest

from xception_jax.runtime import source_code


def test_a_file_is_named_by_as_much_of_its_path_as_no_other_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {
        "/own/one/blocks/mine.py": "one/blocks/mine.py",
        "/own/two/blocks/mine.py": "two/blocks/mine.py",
        "/own/two/blocks/other.py": "blocks/other.py",
        "/blocks/mine.py": "/blocks/mine.py",
    }
    monkeypatch.setattr(source_code, "_files_of_user", lambda: {Path(path): path for path in names})
    files = source_code.describe_code()["files"]
    assert files == {name: path for path, name in names.items()}
