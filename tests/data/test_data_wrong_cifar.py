"""Files of CIFAR whose pixels, labels or names of classes are wrong: refused with one line."""

import pickle
from typing import Any

import numpy as np
import pytest

from tests.data import fabricate_archives as fabricate
from tests.data.fabricate_archives import write
from tests.data.refusal import refusal


def test_cifar_with_wrong_content_is_named(rng, tmp_path):
    files, _ = fabricate.cifar("cifar10", "binary", rng)
    first = "cifar-10-batches-bin/data_batch_1.bin"
    for content, said in (
        (files[first][:-1], "184379 bytes are no multiple of 3073"),
        (b"\x0a" + files[first][1:], "labels are not all from 0 to 9"),
    ):
        write(tmp_path / "in", files | {first: content})
        assert said in refusal("cifar10", tmp_path / "in")
    files, _ = fabricate.cifar("cifar10", "4", rng)
    first = "cifar-10-batches-py/data_batch_1"
    pixels = np.zeros((2, 3072), np.uint8)
    tree: list[Any] = [1, 2]
    for _ in range(60):  # NumPy would make 2^60 numbers of it
        tree = [tree, tree]
    for batch, said in (
        ({"labels": [1, 2]}, "has no data; it has 'labels'"),
        ({"data": pixels, "labels": [1]}, "instead of (1, 3072)"),
        ({"data": pixels.astype(np.int64), "labels": [1, 2]}, "no array of bytes"),
        ({"data": pixels, "labels": ["x", "y"]}, "instead of"),
        ({"data": pixels, "labels": tree}, "holds lists instead of numbers"),
        ({"data": pixels, "labels": np.array(1)}, "labels are no list of whole numbers"),
        ({"data": pixels, "labels": np.array([[1], [2]])}, "labels are no list of whole numbers"),
    ):
        write(tmp_path / "python", files | {first: pickle.dumps(batch, protocol=4)})
        assert said in refusal("cifar10", tmp_path / "python")


def test_class_names_that_grow_are_named(rng, tmp_path):
    files, _ = fabricate.cifar("cifar10", "4", rng, each=1)
    for names in (["x" * 1000] * 2, ["x"] * 1001, [["x"]]):
        meta = pickle.dumps({"label_names": names}, protocol=4)
        write(tmp_path / "in", files | {"cifar-10-batches-py/batches.meta": meta})
        assert "batches.meta" in refusal("cifar10", tmp_path / "in")


@pytest.mark.parametrize("version", ["binary", "4"])
def test_class_names_that_cannot_be_stored_are_named(version, rng, tmp_path):
    files, _ = fabricate.cifar("cifar10", version, rng, each=1)
    names, line = (*fabricate.CIFAR10[:9], " cat "), "names the class 'cat' twice"
    if version == "binary":
        files["cifar-10-batches-bin/batches.meta.txt"] = "\n".join(names).encode()
        write(tmp_path / "in", files)
        file = tmp_path / "in" / "batches.meta.txt"
        said = refusal("cifar10", tmp_path / "in")
        assert said == f"--from='{file}': cannot be read: ValueError: it {line}"
        return
    for last, said in ((names[9], line), ("a\nb", "several lines"), (" ", "is empty or")):
        meta = pickle.dumps({"label_names": [*names[:9], last]}, protocol=4)
        write(tmp_path / "in", files | {"cifar-10-batches-py/batches.meta": meta})
        assert said in refusal("cifar10", tmp_path / "in")
