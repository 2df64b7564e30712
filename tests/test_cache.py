"""The user's cache holds programs that run: only one that nobody else has written to is used."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from tests.shrunk import CONFIG, SHRUNK
from xception_jax.cache import _usable, cache_directory
from xception_jax.commands.process import prepare_jax

OTHER = 12345


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's cache for one test; JAX's own, which a command sets, is set back after."""
    _usable.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = jax.config.values["jax_compilation_cache_dir"]
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


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
    assert (home / "xception_jax").stat().st_mode & 0o777 == 0o700


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


@pytest.mark.parametrize("obstacle", ["file", "no home", "closed kernels"])
def test_without_a_usable_home_the_process_goes_on(home, obstacle, monkeypatch, caplog):
    if obstacle == "file":
        (home / "xception_jax").touch()
    elif obstacle == "closed kernels":  # root's, whom permissions do not stop: as another meets it
        (home / "xception_jax" / "kernels").mkdir(parents=True)
        scan = os.scandir

        def closed(path):
            if str(path).endswith("kernels"):
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", closed)
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", lambda: Path("/proc/nowhere"))
    with caplog.at_level(logging.WARNING):
        used = cache_directory()
    assert used.is_dir()
    assert home not in used.parents
    assert "the cache is not used" in caplog.text


@pytest.mark.parametrize("parent", ["home", ""])
def test_without_a_usable_home_a_store_is_refused_before_any_work(home, parent, monkeypatch, call):
    """A run in a store is refused, and nothing is made there, if no cache directory would last.

    What could not be sent at the end would be deleted with the temporary directory.
    """
    if parent:
        (home / "xception_jax").touch()
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", lambda: Path("/proc/nowhere"))
    url = f"file://{home}/bucket/run"
    code, _, err = call("train", CONFIG, *SHRUNK, "--workdir", url)
    assert code == 2
    assert f"the working copy of {url} would be deleted with this process" in err
    assert "set XDG_CACHE_HOME to a directory of yours that lasts" in err
    assert not (home / "bucket").exists()


def test_a_file_that_others_can_write_to_is_not_trusted(home, caplog):
    (planted := home / "xception_jax" / "programs" / "x-cache").parent.mkdir(parents=True)
    planted.touch()
    planted.parent.chmod(0o755)  # whatever the umask
    planted.chmod(0o664)
    (home / "xception_jax").chmod(0o755)
    assert home not in cache_directory().parents
    assert f"others can write to {planted}" in caplog.text
    _usable.cache_clear()
    (home / "xception_jax").chmod(0o700)  # nobody else gets there
    assert cache_directory() == home / "xception_jax"


@pytest.mark.parametrize("gone", ["kernels", "kernels/.digests.json.7.partial"])
def test_what_another_process_removes_meanwhile_does_not_matter(home, gone, monkeypatch, caplog):
    (home / "xception_jax" / "kernels").mkdir(parents=True)
    (home / "xception_jax" / "kernels" / ".digests.json.7.partial").touch()
    scan, status = os.scandir, os.lstat

    def scan_without(path):
        if str(path).endswith(gone):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return scan(path)

    def status_without(path):
        if str(path).endswith(gone):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return status(path)

    monkeypatch.setattr(os, "scandir", scan_without)
    monkeypatch.setattr(os, "lstat", status_without)
    assert cache_directory() == home / "xception_jax"
    assert not caplog.text


@pytest.mark.parametrize("folder", ["fetched", "remote"])
def test_of_data_only_the_folder_itself_is_checked(folder, home, monkeypatch, caplog):
    """They may be the millions of images of a data set."""
    (home / "xception_jax" / folder / "train").mkdir(parents=True)
    (home / "xception_jax" / folder / "train" / "0.png").touch()
    status = os.lstat
    asked: list[str] = []

    def recorded(path):
        asked.append(str(path))
        return status(path)

    monkeypatch.setattr(os, "lstat", recorded)
    assert cache_directory() == home / "xception_jax"
    assert asked == [str(home / "xception_jax" / folder)]
    _usable.cache_clear()
    give_away(home / "xception_jax" / folder, monkeypatch)
    assert home not in cache_directory().parents
    assert "belongs to another user" in caplog.text


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that JAX_COMPILATION_CACHE_DIR names, with a program; JAX is set back after."""
    (directory := tmp_path / "named").mkdir()
    directory.chmod(0o755)  # whatever the umask
    (directory / "x-cache").touch()
    (directory / "x-cache").chmod(0o644)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(directory))
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(directory))  # as JAX does when it starts
    yield directory
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize("fault", ["", "owner", "owner of a program", "open", "program open"])
def test_a_named_cache_is_used_only_if_nobody_else_can_write_to_it(
    named, fault, monkeypatch, caplog
):
    if fault.startswith("owner"):
        give_away(named / "x-cache" if "program" in fault else named, monkeypatch)
    elif fault:
        (named / "x-cache" if "program" in fault else named).chmod(0o777)
    prepare_jax(devices=True)
    used = jax.config.values["jax_compilation_cache_dir"]
    assert used == (None if fault else str(named))
    said = "belongs to another user" if "owner" in fault else "others can write to"
    assert caplog.text.count("JAX_COMPILATION_CACHE_DIR is not used") == bool(fault)
    assert caplog.text.count(said) == bool(fault)
    assert named.stat().st_mode & 0o777 == (0o777 if fault == "open" else 0o755)


def test_a_name_that_another_user_chose_commands_no_terminal(home, monkeypatch, caplog):
    (planted := home / "xception_jax" / "kernels" / "\x1b[2Jx").mkdir(parents=True)
    give_away(planted, monkeypatch)
    cache_directory()
    assert "belongs to another user" in caplog.text
    assert "\x1b" not in caplog.text
