"""The shipped data set, fashion_mnist_mini: its images are those of its sheets, damage is named."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.contents import contents, example, sorted_pairs
from xception_jax.data import load, shipped
from xception_jax.data.splits import ArrayRecords
from xception_jax.errors import InputError


@pytest.fixture(scope="module")
def stored(prepared: str) -> dict[str, list[tuple[bytes, Any]]]:
    """The prepared set, read once: all pixels and labels of each split."""
    source = load("fashion_mnist_mini", directory=prepared)
    return {split: contents(source, split) for split in source.splits}


def test_mini_is_what_the_sheets_show(prepared: str, stored) -> None:
    source = load("fashion_mnist_mini", directory=prepared)
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 10800,
        "valid": 1200,
        "test": 2000,
    }
    assert len(source.class_names) == 10
    sheet = np.asarray(Image.open(shipped.DIRECTORY / "test-0.png"))
    labels = (shipped.DIRECTORY / "test-labels.txt").read_text().split()
    tiles = [
        (sheet[28 * row : 28 * row + 28, 28 * column : 28 * column + 28].tobytes(), int(digit))
        for row, line in enumerate(labels)
        for column, digit in enumerate(line)
    ]
    assert sorted(stored["test"]) == sorted(tiles)
    _, counts = np.unique([label for _, label in tiles], return_counts=True)
    assert counts.tolist() == [200] * 10


def test_mini_is_read_from_the_sheets_in_the_order_of_tfds(prepared: str, stored) -> None:
    shipped_set = load("fashion_mnist_mini")
    of_tfds = load("fashion_mnist_mini", directory=prepared)
    assert shipped_set.class_names == of_tfds.class_names
    assert shipped_set.channels == of_tfds.channels
    for split in ("train", "valid", "test"):
        part = shipped_set.splits[split]
        assert isinstance(part.records, ArrayRecords)
        arrays = part.records.images[part.indices], part.records.labels[part.indices].tolist()
        held = [(image.tobytes(), label) for image, label in zip(*arrays, strict=True)]
        assert held == stored[split]
        read = [example(part, index) for index in range(20)]
        assert [(np.asarray(image).tobytes(), label) for image, label in read] == held[:20]
        assert shipped_set.splits[split].name(3) == of_tfds.splits[split].name(3)


def test_mini_needs_no_tfds() -> None:
    program = "import sys; from xception_jax.data import load; load('fashion_mnist_mini'); "
    program += "sys.exit('tensorflow_datasets' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_both_parts_of_training_are_all_of_the_sheets(stored) -> None:
    everything = shipped.read_shipped()["train"]
    assert sorted(stored["valid"] + stored["train"]) == sorted_pairs(*everything)


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_damaged_shipped_file_is_named(tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shipped.DIRECTORY, copy)
    shipped.verify(copy)
    victim = copy / "train-3.png"
    content = bytearray(victim.read_bytes())
    content[1000] ^= 1
    victim.write_bytes(content) if damage == "flip" else victim.unlink()
    with pytest.raises(InputError, match=r"train-3\.png is (damaged: sha256|missing)"):
        shipped.read_shipped(copy)
