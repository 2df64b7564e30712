"""The user's cache holds programs that run: only one that nobody else has written to is used."""

import logging
import os
from pathlib import Path

import pytest

from xception_jax.cache import _usable, cache_directory

OTHER = 12345


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    _usable.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes another user the owner; without the right to, this process becomes another user."""
    if os.geteuid() == 0:
        os.chown(path, OTHER, OTHER, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: OTHER)


def test_a_cache_of_ones_own_is_used_and_closed_to_others(home):
    (home / "xception_jax").mkdir()
    (home / "xception_jax").chmod(0o777)
    assert cache_directory() == home / "xception_jax"
    assert (home / "xception_jax").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("planted", [".", "kernels", "programs/traced/program"])
def test_what_another_user_has_put_there_is_not_used(home, planted, monkeypatch, caplog):
    (home / "xception_jax" / "kernels").mkdir(parents=True)
    (home / "xception_jax" / "programs" / "traced").mkdir(parents=True)
    (home / "xception_jax" / "programs" / "traced" / "program").touch()
    give_away(home / "xception_jax" / planted, monkeypatch)
    with caplog.at_level(logging.WARNING):
        used = cache_directory()
        assert cache_directory() == used
    assert home not in used.parents
    assert not list(used.iterdir())
    assert used.stat().st_mode & 0o077 == 0
    assert caplog.text.count("belongs to another user") == 1


@pytest.mark.parametrize("obstacle", ["file", "no home"])
def test_without_a_usable_home_the_process_goes_on(home, obstacle, monkeypatch, caplog):
    if obstacle == "file":
        (home / "xception_jax").touch()
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", lambda: Path("/proc/nowhere"))
    with caplog.at_level(logging.WARNING):
        used = cache_directory()
    assert used.is_dir()
    assert home not in used.parents
    assert "the cache is not used" in caplog.text
