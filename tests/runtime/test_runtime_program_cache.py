"""The cache of compiled programs: by processor, and without damaged entries."""

import zlib
from pathlib import Path

import pytest

from tests.damage import flip, truncate
from xception_jax import cache
from xception_jax.runtime import program_cache
from xception_jax.runtime.program_cache import program_directory

CONTENT = zlib.compress(bytes(range(256)) * 100)


@pytest.fixture
def directory(tmp_path, monkeypatch) -> Path:
    """The directory of programs, with two entries."""
    cache._usable.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = program_directory()
    for name in ("jit_one-cache", "jit_two-cache"):
        (directory / name).write_bytes(CONTENT)
    return directory


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*-cache"))


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("damage", [flip, truncate])
def test_a_damaged_entry_is_deleted_at_the_next_start(directory, damage, seen):
    if seen:
        program_directory()
    damage(directory / "jit_one-cache")
    assert program_directory() == directory
    assert names(directory) == ["jit_two-cache"]


def test_an_entry_that_was_replaced_is_not_loaded(directory):
    program_directory()
    (directory / "jit_one-cache").write_bytes(zlib.compress(b"another program"))
    program_directory()
    assert names(directory) == ["jit_two-cache"]


@pytest.mark.parametrize("digests", [b"", b"[1]", b"{", b'{"jit_one-cache": 5}'])
def test_damaged_digests_cost_an_entry_at_most(directory, digests):
    (directory / "digests.json").write_bytes(digests)
    program_directory()
    assert "jit_two-cache" in names(directory)
    program_directory()


def test_each_kind_of_processor_has_its_own(directory, monkeypatch):
    monkeypatch.setattr(program_cache, "_processor", lambda: "x86_64-other")
    other = program_directory()
    assert other != directory
    assert names(other) == []


def test_a_directory_that_cannot_be_read_is_no_error(directory, monkeypatch):
    monkeypatch.setattr(program_cache, "_heal", lambda _: (_ for _ in ()).throw(OSError("no")))
    assert program_directory() == directory
