"""Tests of the multi-label data set, tile by tile against the shipped images."""

import hashlib
from itertools import islice
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from tests.data.contents import example
from xception_jax.data import list_datasets, load, open_pipeline, prepare, shipped
from xception_jax.data.mosaic import read_mosaic
from xception_jax.data.splits import ArrayRecords, Records, assign_splits
from xception_jax.errors import InputError

NAME = "fashion_mnist_mosaic"


@pytest.fixture(scope="module")
def parts() -> dict[str, Records]:
    return read_mosaic()[2]


def tiles_of(mosaic: np.ndarray) -> list[bytes]:
    corners = [(0, 0), (0, 28), (28, 0), (28, 28)]
    return [mosaic[top : top + 28, left : left + 28].tobytes() for top, left in corners]


def test_labels_are_the_classes_of_the_tiles(parts) -> None:
    """Every tile is looked up by its bytes among the shipped images of its split."""
    images = shipped.read_shipped()
    assert {name: part.images.shape for name, part in parts.items()} == {
        "train": (8000, 56, 56, 1),
        "validation": (1000, 56, 56, 1),
        "test": (1500, 56, 56, 1),
    }
    used: dict[str, Any] = {}
    for name, part in parts.items():
        pixels, labels = images["test" if name == "test" else "train"]
        class_of = {
            image.tobytes(): int(label) for image, label in zip(pixels, labels, strict=True)
        }
        used[name] = set()
        for mosaic, label in zip(part.images, part.labels, strict=True):
            tiles = tiles_of(mosaic)
            used[name].update(tiles)
            assert set(np.flatnonzero(label)) == {class_of[tile] for tile in tiles}
        assert part.labels.dtype == np.uint8
        assert part.labels.max() == 1
    assert used["train"].isdisjoint(used["validation"])
    assert len(used["validation"]) > 1000  # of 1,200, in 4,000 long-tailed draws


def test_the_definition_does_not_change(parts) -> None:
    """The hashes belong to the original definition; results on another would not be comparable."""
    hashes = {
        name: hashlib.sha256(part.images.tobytes() + part.labels.tobytes()).hexdigest()[:16]
        for name, part in parts.items()
    }
    assert hashes == {
        "train": "d7638aef12f3f5b2",
        "validation": "8fbd3553eeaf85eb",
        "test": "16d95fa9c872cf6a",
    }


def test_classes_have_a_long_tail(parts) -> None:
    """A mosaic shows the r-th class with probability 1 - (1 - p)^4; p is proportional to 1/r."""
    weights = 1 / np.arange(1, 11)
    expected = 1 - (1 - weights / weights.sum()) ** 4
    for part in parts.values():
        # Four standard deviations of a share: one of these thirty fails once in 500 draws.
        allowed = 4 * np.sqrt(expected * (1 - expected) / len(part))
        assert (np.abs(part.labels.mean(axis=0) - expected) < allowed).all()


def test_frequencies_are_of_the_whole_training_part(parts) -> None:
    expected = pytest.approx(parts["train"].labels.mean(axis=0).tolist())
    for source in (load(NAME), load(NAME, train_examples=10, validation_fraction=0.5)):
        assert source.class_frequencies == expected
        assert len(source.splits["valid"]) == 1000
        assert len(source.splits["test"]) == 1500
    pipe = open_pipeline(name=NAME, image_size=8, train_examples=10, batch_size=2, seed=0)
    assert pipe.info.class_frequencies == expected
    assert pipe.info.multi_label
    assert not open_pipeline(name="digits", image_size=8, batch_size=2, seed=0).info.multi_label


def test_it_needs_no_place(tmp_path) -> None:
    assert prepare(NAME, str(tmp_path)) is None
    (row,) = (row for row in list_datasets(str(tmp_path)) if row.name == NAME)
    assert row.prepared
    assert row.location is None
    assert not list(tmp_path.iterdir())


def test_both_pipelines_give_sets_of_classes(parts) -> None:
    settings: dict[str, Any] = {
        "name": NAME,
        "image_size": 56,
        "train_examples": 100,
        "batch_size": 16,
        "seed": 5,
    }
    memory = open_pipeline(**settings, pipeline="in_memory")
    stream = open_pipeline(**settings, pipeline="streaming", threads=2)
    device_data = memory.device_data["train"]
    assert device_data["label"].shape == (100, 10)
    batches = zip(memory.train_batches(4), stream.train_batches(4), strict=False)
    for indices, batch in islice(batches, 8):
        rows = indices["index"]
        assert batch["label"].dtype == device_data["label"].dtype == np.uint8
        np.testing.assert_array_equal(batch["label"], device_data["label"][rows])
        np.testing.assert_array_equal(batch["image"], device_data["image"][rows])
    test = parts["test"]
    for batch in stream.eval_batches("test", 400):
        index, mask = batch["index"], batch["mask"]
        assert batch["label"].shape == (400, 10)
        np.testing.assert_array_equal(batch["label"][mask], test.labels[index[mask]])
        np.testing.assert_array_equal(batch["image"][mask], test.images[index[mask]])
    stream.close()


def test_gather_takes_rows_of_labels(parts) -> None:
    from xception_jax.data import gather

    device_data = {"image": parts["test"].images, "label": parts["test"].labels}
    index = np.array([7, 1499, 7], np.int32)
    images, labels = gather(device_data, {"index": jnp.asarray(index)})
    np.testing.assert_array_equal(images, device_data["image"][index])
    np.testing.assert_array_equal(labels, device_data["label"][index])
    assert labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("label", "frequencies"),
    [
        (np.array([0, 2], np.uint8), (0.5, 0.5)),
        (np.array([0, 1, 1], np.uint8), (0.5, 0.5)),
        (np.array([0, 1]), (0.5, 0.5)),
        (np.array([0, 1], np.uint8), None),
        (1, (0.5, 0.5)),
    ],
)
def test_wrong_sets_of_classes_are_named(label, frequencies) -> None:
    records = ArrayRecords("train", np.zeros((30, 4, 4, 1), np.uint8), np.array([label] * 30))
    source = assign_splits(
        "x",
        ("a", "b"),
        1,
        {"train": records},
        validation_fraction=0.1,
        train_examples=None,
        class_frequencies=frequencies,
    )
    expected = "one of 0…1" if frequencies is None else "2 zeros and ones"
    with pytest.raises(InputError, match=rf"train\[\d+\], whose label is not {expected}:"):
        example(source.splits["train"], 0)
