"""Preparing a data set: killed on its way, without TensorFlow, or where nothing can be written."""

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data.contents import contents
from tests.data.fabricate_archives import write_idx
from tests.programs import program
from xception_jax.data import load, prepare
from xception_jax.data.storing import ArraySet, Description, store
from xception_jax.errors import InputError


def test_killed_preparation_leaves_nothing_wrong(tmp_path: Path, rng: np.random.Generator) -> None:
    written = write_idx(tmp_path / "idx", rng, 6000, 50)
    directory = tmp_path / "prepared"
    words = program("prepare_data", "fashion_mnist", directory, tmp_path / "idx")
    child = subprocess.Popen(words)
    try:
        deadline = time.monotonic() + 30
        while not list(directory.glob("fashion_mnist/incomplete.*")):
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.005)
    finally:
        child.kill()
        child.wait()
    assert list(directory.glob("fashion_mnist/incomplete.*"))
    with pytest.raises(InputError, match="is not prepared"):
        load("fashion_mnist", directory=str(directory))
    children = [subprocess.Popen(words) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    assert not list(directory.glob("fashion_mnist/incomplete.*"))
    assert (
        sorted(contents(load("fashion_mnist", directory=str(directory)), "test"))
        == (written["test"])
    )


def test_preparing_tfds_sets_needs_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"TensorFlow.*pip install 'xception-jax\[prepare\]'"):
        prepare("cifar10", str(tmp_path))


def test_unwritable_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"data\.directory=.*cannot be written"):
        load("fashion_mnist_mini", directory=str(tmp_path / "file"))


def test_the_progress_is_seen_while_a_set_is_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the standard output of that moment, as of Rich, and nothing else is printed."""
    images = np.zeros((2, 4, 4, 1), np.uint8)
    description = Description("x", "1.0.0", "", "", ("a", "b"))
    content = ArraySet(description, {"train": (images, np.arange(2))})
    store(content, str(tmp_path), report=print)
    assert capsys.readouterr().out.splitlines() == [
        "train: 1 of 2 images read",
        "train: 2 of 2 images read",
        "train: 2 images are put in order",
    ]
