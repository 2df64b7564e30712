"""Paths of data that cannot be reached: without permission, in a loop, or of an unknown user."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from tests.data import fabricate_archives as fabricate
from tests.data.fabricate import write_folder
from tests.data.fabricate_archives import write
from xception_jax.data import list_datasets, load, prepare
from xception_jax.errors import InputError

NOBODY = 65534
# Imported first: another user may not read Python's own files either.
MODULES = ("importlib.readers", "xception_jax.data.importing", "xception_jax.data.storing")
UNREADABLE: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "folder": ("data.directory", lambda at, _: load("folder", directory=str(at))),
    "set": ("data.directory", lambda at, _: load("cifar10", directory=str(at))),
    "list": ("--directory", lambda at, _: list_datasets(str(at))),
    "import": ("--from", lambda at, free: prepare("cifar10", str(free), str(at))),
    "tree": ("--from", lambda at, free: prepare("imagenette", str(free), str(at))),
    "mat": ("--from", lambda at, free: prepare("svhn_cropped", str(free), str(at))),
    "prepare": ("data.directory", lambda at, free: prepare("cifar10", str(at), str(free))),
}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def unreadable(folder: Path) -> Iterator[None]:
    """Takes away every permission for the folder, those of root too."""
    for name in MODULES:
        import_module(name)
    folder.mkdir(exist_ok=True)
    folder.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.parametrize("below", ["", "x"])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_may_not_be_read_is_named(kind, below, place):
    field, use = UNREADABLE[kind]
    at = place / "locked" / below
    with unreadable(place / "locked"), pytest.raises(InputError) as caught:
        use(at, place / "free")
    assert str(caught.value).startswith(f"{field}='{at}': ")
    assert str(caught.value).endswith("cannot be read: Permission denied")


def test_a_folder_of_an_import_that_may_not_be_read_is_not_passed_over(rng, place):
    write(place / "in", fabricate.imagenette(rng))
    locked = place / "in" / "imagenette2-160" / "train" / fabricate.WNIDS[0]
    with unreadable(locked), pytest.raises(InputError, match=f"Permission denied: '{locked}'"):
        prepare("imagenette", str(place / "p"), str(place / "in"))


def test_a_list_goes_on_without_the_default_directory(monkeypatch, place):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(place / "locked" / "x"))
    with unreadable(place / "locked"):
        prepared = {row.name: row.prepared for row in list_datasets()}
    assert prepared["digits"]
    assert not prepared["cifar10"]


def test_homes_of_unknown_users_are_named(monkeypatch, tmp_path):
    path = "~no_such_user/x"
    uses = [
        ("data.directory", lambda: load("folder", directory=path)),
        ("data.directory", lambda: prepare("cifar10", path, str(tmp_path))),
        ("--from", lambda: prepare("cifar10", str(tmp_path), path)),
        ("--directory", lambda: list_datasets(path)),
    ]
    for field, use in uses:
        with pytest.raises(InputError, match=f"^{field}='{path}': the home directory"):
            use()


def test_a_link_that_loops_is_no_class(rng, tmp_path):
    write_folder(tmp_path, rng, {"train": 4})
    (tmp_path / "train" / "loop").symlink_to("loop")
    assert load("folder", directory=str(tmp_path)).class_names == ("ant", "bee", "cat")
    (tmp_path / "itself").symlink_to("itself")
    with pytest.raises(InputError, match=r"data\.directory=.*Too many levels of symbolic links"):
        load("folder", directory=str(tmp_path / "itself"))
