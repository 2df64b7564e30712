"""Fashion-MNIST from its idx files, and idx files that are damaged or unpack to too much."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.data.contents import contents
from tests.data.fabricate_archives import write_idx
from xception_jax.data import idx, list_datasets, load, prepare
from xception_jax.data.idx import read_idx
from xception_jax.errors import InputError


def test_fashion_mnist_from_idx_files(tmp_path: Path, rng: np.random.Generator) -> None:
    written = write_idx(tmp_path / "idx", rng, 60, 20)
    directory = str(tmp_path / "prepared")
    path = prepare("fashion_mnist", directory, str(tmp_path / "idx"))
    assert path is not None
    assert prepare("fashion_mnist", directory) == path
    source = load("fashion_mnist", directory=directory, validation_fraction=0.25)
    assert sorted(contents(source, "train") + contents(source, "valid")) == written["train"]
    assert len(source.splits["valid"]) == 15
    assert sorted(contents(source, "test")) == written["test"]
    assert (source.channels, source.licence) == (1, "MIT")
    rows = {row.name: row for row in list_datasets(directory)}
    assert rows["fashion_mnist"].location == str(path)
    assert not rows["cifar10"].prepared


def test_an_idx_file_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MAX_BYTES", 1000)
    (path := tmp_path / "a.gz").write_bytes(gzip.compress(bytes(1001)))
    with pytest.raises(InputError, match="unpacks to more than 1,000 bytes"):
        idx.read_idx(path)


def test_bad_idx_files_are_named(tmp_path: Path, rng: np.random.Generator) -> None:
    directory = tmp_path / "idx"
    directory.mkdir()
    with pytest.raises(InputError, match="holds no train-images-idx3-ubyte"):
        prepare("fashion_mnist", str(tmp_path), str(directory))
    write_idx(directory, rng, 5, 5)
    labels = directory / "train-labels-idx1-ubyte"
    good = labels.read_bytes()
    for content, reason in [
        (good[:-1], "holds 4 bytes of data"),
        (b"\x00\x00\x0d" + good[3:], "is no idx file of unsigned bytes"),
        (b"", "is no idx file"),
        (gzip.compress(good)[:-9], "cannot be read"),
        (good[:4] + struct.pack(">I", 4) + good[8:12], "do not belong together"),
        (good[:-1] + b"\x0a", "not all below 10"),
    ]:
        labels.write_bytes(content)
        with pytest.raises(InputError, match=reason):
            prepare("fashion_mnist", str(tmp_path), str(directory))
    labels.write_bytes(good)
    assert read_idx(labels).tolist() == list(good[8:])
    images = directory / "train-images-idx3-ubyte.gz"
    images.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">III", 5, 0, 28))
    reason = rf"{images}': its images have no pixels: shape \(5, 0, 28\)"
    with pytest.raises(InputError, match=reason):
        prepare("fashion_mnist", str(tmp_path), str(directory))
