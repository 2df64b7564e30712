"""Paths of data that cannot be reached: without permission, in a loop, or of an unknown user."""

import importlib.readers  # noqa: F401 - see `unreadable`
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

import xception_jax.data.importing
import xception_jax.data.storing  # noqa: F401 - see `unreadable`
from tests.closed_folders import unreadable
from tests.data import fabricate_archives as fabricate
from tests.data.fabricate import write_folder
from tests.data.fabricate_archives import write
from xception_jax.data import list_datasets, load, prepare
from xception_jax.data.builders import data_directory
from xception_jax.errors import InputError

UNREADABLE: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "folder": ("data.directory", lambda at, _: load("folder", directory=str(at))),
    "set": ("data.directory", lambda at, _: load("cifar10", directory=str(at))),
    "list": ("--directory", lambda at, _: list_datasets(str(at))),
    "import": ("--from", lambda at, free: prepare("cifar10", str(free), str(at))),
    "tree": ("--from", lambda at, free: prepare("imagenette", str(free), str(at))),
    "mat": ("--from", lambda at, free: prepare("svhn_cropped", str(free), str(at))),
    "prepare": ("data.directory", lambda at, free: prepare("cifar10", str(at), str(free))),
}


@pytest.mark.parametrize("below", ["", "x"])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_may_not_be_read_is_named(kind, below, open_folder):
    field, use = UNREADABLE[kind]
    at = open_folder / "locked" / below
    with unreadable(open_folder / "locked"), pytest.raises(InputError) as caught:
        use(at, open_folder / "free")
    assert str(caught.value).startswith(f"{field}='{at}': ")
    assert str(caught.value).endswith("cannot be read: Permission denied")


def test_a_folder_of_an_import_that_may_not_be_read_is_not_passed_over(rng, open_folder):
    write(open_folder / "in", fabricate.imagenette(rng))
    locked = open_folder / "in" / "imagenette2-160" / "train" / fabricate.WNIDS[0]
    with unreadable(locked), pytest.raises(InputError, match=f"Permission denied: '{locked}'"):
        prepare("imagenette", str(open_folder / "p"), str(open_folder / "in"))


def test_a_list_goes_on_without_the_default_directory(monkeypatch, open_folder):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(open_folder / "locked" / "x"))
    with unreadable(open_folder / "locked"):
        prepared = {row.name: row.prepared for row in list_datasets()}
    assert prepared["digits"]
    assert not prepared["cifar10"]


@pytest.mark.parametrize("default", ["gs://bucket/data", "~no_such_user/x", "hdfs://name/data"])
def test_a_list_goes_on_without_a_default_directory_on_this_machine(default, monkeypatch):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", default)
    prepared = [row for row in list_datasets() if row.prepared]
    assert {"digits", "fashion_mnist_mini"} <= {row.name for row in prepared}
    assert {row.location for row in prepared} == {None}


@pytest.mark.parametrize(
    ("default", "said"),
    [
        ("gs://bucket/data", "='gs://bucket/data': is TFDS_DATA_DIR, and no directory of this"),
        ("hdfs://name/data", "='hdfs://name/data': is TFDS_DATA_DIR: must begin with one of gs://"),
        ("gs://me:PLANTED@bucket", ": is TFDS_DATA_DIR: it holds a key or password"),
    ],
)
def test_a_default_directory_in_a_store_is_named(default, said, monkeypatch, tmp_path):
    """Taken for a path, the URL would become a directory `gs:` below the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", default)
    for use in (lambda: load("cifar10"), lambda: prepare("cifar10")):
        with pytest.raises(InputError) as caught:
            use()
        assert str(caught.value).startswith(f"data.directory{said}")
        assert "PLANTED" not in str(caught.value)
    with pytest.raises(InputError, match="is TFDS_DATA_DIR"):
        prepare("fashion_mnist_mini")
    assert not list(tmp_path.iterdir())
    load("fashion_mnist_mini")  # asks for no directory


def test_an_empty_directory_is_the_default(monkeypatch, tmp_path):
    """`--directory "$DATA"`, with the variable unset, does not mean the current directory."""
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    assert data_directory("") == data_directory(None) == tmp_path


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
