"""Fingerprints: other labels, pixels, files or classes are seen, and copies are the same data."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.fabricate import encode, write_folder
from xception_jax.data import Source, load, open_pipeline
from xception_jax.data.fingerprint import DataFingerprint
from xception_jax.data.splits import ArrayRecords, assign_splits
from xception_jax.records import data_differences

SPLITS = {"train": 8, "validation": 3, "test": 3}


def fingerprint(pipeline: str, **settings: Any) -> DataFingerprint:
    opened = open_pipeline(
        image_size=16, batch_size=4, seed=0, pipeline=pipeline, threads=1, **settings
    )
    return opened.fingerprint()


def differences(pipeline: str, one: Path, other: Path) -> dict[str, list[str]]:
    found = [fingerprint(pipeline, name="folder", directory=str(path)) for path in (one, other)]
    return data_differences(found[0].describe(), found[1].describe())


def shift_labels(root: Path) -> None:
    """Every image of the test split becomes one of the next class."""
    test = root / "test"
    (test / "ant").rename(test / "old")
    (test / "cat").rename(test / "ant")
    (test / "bee").rename(test / "cat")
    (test / "old").rename(test / "bee")


def change_pixels(root: Path) -> None:
    """Other pixels in an image of training, at the same path."""
    (root / "train" / "bee" / "003.png").write_bytes(encode(np.zeros((24, 32, 3), np.uint8)))


def rename_class(root: Path) -> None:
    for split in SPLITS:
        (root / split / "cat").rename(root / split / "dog")


@pytest.mark.parametrize("pipeline", ["in_memory", "streaming"])
@pytest.mark.parametrize(
    ("change", "split", "fields"),
    [
        (lambda _: None, None, []),
        (shift_labels, "test", ["images"]),
        (change_pixels, "train", ["images"]),
        (lambda root: (root / "validation/ant/000.png").unlink(), "valid", ["examples"]),
        (rename_class, "train", ["class names"]),
    ],
)
def test_what_is_not_the_same_data_is_seen(
    tmp_path: Path,
    rng: np.random.Generator,
    *,
    pipeline: str,
    change: Callable[[Path], Any],
    split: str | None,
    fields: list[str],
) -> None:
    one, other = tmp_path / "one", tmp_path / "deeper" / "other"
    write_folder(one, rng, SPLITS)
    shutil.copytree(one, other)
    change(other)
    found = differences(pipeline, one, other)
    assert set(fields) <= set(found.get(split or "", []))
    assert bool(found) == (split is not None)
    if "class names" not in fields:
        assert set(found) == ({split} if split else set())


def test_shifted_labels_are_seen_in_prepared_sets(tmp_path: Path, rng: np.random.Generator) -> None:
    """Sets of TFDS with the same images, in files that may be of the same size."""
    from xception_jax.data.storing import ArraySet, Description, store

    images = rng.integers(0, 256, (60, 16, 16, 1), np.uint8)
    labels = rng.integers(0, 3, 60)
    found = {}
    for name, shift in (("one", 0), ("same", 0), ("other", 1)):
        splits = {
            "train": (images[:40], (labels[:40] + shift) % 3),
            "test": (images[40:], labels[40:]),
        }
        content = ArraySet(Description("tiny", "1.0.0", "", "", ("a", "b", "c")), splits)
        store(content, str(tmp_path / name))
        for pipeline in ("in_memory", "streaming"):
            read = fingerprint(pipeline, name="tiny", directory=str(tmp_path / name))
            found[name, pipeline] = read.describe()
    for pipeline in ("in_memory", "streaming"):
        one = found["one", pipeline]
        assert data_differences(one, found["same", pipeline]) == {}
        assert "labels" in data_differences(one, found["other", pipeline])["train"]
        assert "test" not in data_differences(one, found["other", pipeline])


def test_pixel_digests_are_those_of_the_arrays(prepared: str) -> None:
    opened = open_pipeline(
        name="fashion_mnist_mini",
        directory=prepared,
        image_size=28,
        batch_size=4,
        seed=0,
        train_examples=100,
    )
    test = opened.device_data["test"]
    of_images = b"".join(hashlib.sha256(image.tobytes()).digest() for image in test["image"])
    split = opened.fingerprint().splits["test"]
    assert split.images == hashlib.sha256(of_images).hexdigest()
    assert split.labels == hashlib.sha256(test["label"].astype(np.int32).tobytes()).hexdigest()
    assert opened.fingerprint().notes == ()


@pytest.mark.parametrize("pipeline", ["in_memory", "streaming"])
def test_names_of_folders_make_no_lines(
    tmp_path: Path, rng: np.random.Generator, pipeline: str
) -> None:
    write_folder(tmp_path, rng, SPLITS)
    (tmp_path / "train" / "ant").rename(tmp_path / "train" / "a\ndone: all is well")
    for split in ("validation", "test"):
        shutil.rmtree(tmp_path / split / "ant")
    shutil.copy(
        tmp_path / "train" / "a\ndone: all is well" / "000.png", tmp_path / "test" / "bee" / "x.png"
    )
    notes = fingerprint(pipeline, name="folder", directory=str(tmp_path)).notes
    assert "a\ufffddone: all is well" in notes[-1]
    assert len(notes) == (3 if pipeline == "in_memory" else 2)
    assert all(note.isprintable() for note in notes)


def test_images_in_two_splits_are_counted_and_named(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    write_folder(tmp_path, rng, SPLITS)
    for number in range(2):
        shutil.copy(
            tmp_path / "train" / "bee" / f"00{number}.png", tmp_path / "test/cat" / f"x{number}.png"
        )
    found = fingerprint("in_memory", name="folder", directory=str(tmp_path))
    assert found.repeated is not None
    (repeated,) = found.repeated
    assert (repeated.splits, repeated.images) == (("train", "test"), 2)
    one, other, digest = repeated.examples[0]
    assert (Path(one).name, Path(other).name, len(digest)) == ("000.png", "x0.png", 64)
    (note,) = found.notes
    assert "2 images of the test split stand in the train split too, such as" in note
    assert one in note
    assert fingerprint("streaming", name="folder", directory=str(tmp_path)).repeated is None


def carved(counts: list[int], rng: np.random.Generator, fraction: float = 0.1) -> Source:
    """A set of these numbers of images of each class, in any order, without other splits."""
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    images = rng.integers(0, 256, (len(labels), 4, 4, 1), np.uint8)
    names = tuple("abcdefghij"[: len(counts)])
    return assign_splits(
        "x",
        names,
        1,
        {"train": ArrayRecords("train", images, labels)},
        validation_fraction=fraction,
        train_examples=None,
    )


def classes_of(source: Source) -> dict[str, list[int]]:
    counts = {}
    for name, split in source.splits.items():
        labels = split.known_labels()
        assert labels is not None
        counts[name] = np.bincount(labels, minlength=len(source.class_names)).tolist()
    return counts


def test_every_class_has_its_share_of_a_split_that_is_taken_from_training(
    rng: np.random.Generator,
) -> None:
    source = carved([200, 6], rng)
    assert classes_of(source) == {"train": [160, 4], "test": [20, 1], "valid": [20, 1]}
    everything = np.sort(np.concatenate([split.indices for split in source.splits.values()]))
    assert np.array_equal(everything, np.arange(206))
    many = classes_of(carved([55, 45, 25, 75], rng))
    assert sum(many["test"]) == sum(many["valid"]) == 20  # a tenth of 200
    np.testing.assert_allclose(many["test"], [5.5, 4.5, 2.5, 7.5], atol=0.5)


def test_each_class_keeps_an_image_for_training(rng: np.random.Generator) -> None:
    counts = classes_of(carved([1, 2, 3, 40], rng, fraction=0.5))
    assert counts["train"] == [1, 1, 1, 1]
    assert counts["test"] == [0, 1, 1, 20]
    assert counts["valid"] == [0, 0, 1, 19]


def test_a_split_without_some_class_says_so(tmp_path: Path, rng: np.random.Generator) -> None:
    write_folder(tmp_path, rng, SPLITS)
    shutil.rmtree(tmp_path / "test" / "bee")
    for pipeline in ("in_memory", "streaming"):
        found = fingerprint(pipeline, name="folder", directory=str(tmp_path))
        assert found.notes == ("the test split has no image of 1 of 3 classes: bee",)


def test_the_shipped_set_is_carved_in_equal_parts(prepared: str) -> None:
    source = load("fashion_mnist_mini", directory=prepared)
    assert classes_of(source)["valid"] == [120] * 10


def test_a_pipe_among_the_images_is_not_waited_for(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    write_folder(root := tmp_path / "set", rng, SPLITS)
    path = root / "train" / "ant" / "000.png"
    path.unlink()
    os.mkfifo(path)
    settings = {"name": "folder", "directory": str(root), "corrupt_images": "skip"}
    assert fingerprint("streaming", **settings).splits["train"].examples == 24


def test_class_names_may_be_in_any_encoding(tmp_path: Path, rng: np.random.Generator) -> None:
    """Archives of other systems unpack to names of folders that are no UTF-8."""
    write_folder(root := tmp_path / "set", rng, SPLITS)
    before = fingerprint("in_memory", name="folder", directory=str(root))
    root = root.rename(tmp_path / "other")
    for split in SPLITS:
        (root / split / "cat").rename(os.fsdecode(os.fsencode(root / split) + b"/caf\xe9"))
    after = fingerprint("in_memory", name="folder", directory=str(root))
    assert before.classes != after.classes
