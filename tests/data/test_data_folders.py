"""Folders of images as data sets: their splits, classes and files, and what is wrong with some."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.contents import example
from tests.data.fabricate import encode, write_folder
from xception_jax.data import load
from xception_jax.errors import InputError


def test_folder(tmp_path: Path, rng: np.random.Generator) -> None:
    write_folder(tmp_path, rng, {"train": 4, "val": 2, "test": 1})
    extra = tmp_path / "train" / "bee" / "extra.JPG"
    extra.write_bytes(encode(rng.integers(0, 256, (9, 9, 3), np.uint8), "JPEG", "CMYK"))
    (tmp_path / "train" / "bee" / "notes.txt").write_text("no image")
    source = load("folder", directory=str(tmp_path))
    assert source.class_names == ("ant", "bee", "cat")
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sizes == {"train": 13, "valid": 6, "test": 3}
    train = source.splits["train"]
    for index in range(len(train)):
        image, label = example(train, index)
        path = Path(train.name(index))
        assert image.mode == "RGB"
        assert path.parent.name == source.class_names[label]
        expected = np.asarray(Image.open(path).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(image), expected)


def test_photos_in_a_folder_are_upright_unless_told_otherwise(tmp_path: Path) -> None:
    write_folder(tmp_path, np.random.default_rng(0), {"train": 4})
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.new("RGB", (20, 10))
    for path in tmp_path.glob("train/*/*.png"):
        lying.save(path, exif=exif)
    for upright, size in ((True, (10, 20)), (False, (20, 10))):
        source = load("folder", directory=str(tmp_path), upright=upright)
        assert {example(part, 0)[0].size for part in source.splits.values()} == {size}


def test_a_folder_with_train_alone_is_split(tmp_path: Path, rng: np.random.Generator) -> None:
    write_folder(tmp_path, rng, {"train": 8})
    source = load("folder", directory=str(tmp_path))
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sizes == {"train": 18, "valid": 3, "test": 3}
    labels = {
        name: {example(split, index)[1] for index in range(len(split))}
        for name, split in source.splits.items()
    }
    assert labels == {"train": {0, 1, 2}, "valid": {0, 1, 2}, "test": {0, 1, 2}}


def test_bad_folders_are_named(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="needs the folder's path"):
        load("folder")
    write_folder(tmp_path / "images", rng, {"train": 4, "val": 1})
    with pytest.raises(InputError, match=r"no such folder; nearest valid value: '.*/images'"):
        load("folder", directory=str(tmp_path / "imges"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file': is no folder, but a file"):
        load("folder", directory=str(tmp_path / "file"))
    with pytest.raises(InputError, match="no folder named train"):
        load("folder", directory=str(tmp_path / "images" / "train"))
    (tmp_path / "images" / "val" / "bees").mkdir()
    with pytest.raises(InputError, match=r"bees': is a class that train does not have.*'bee'"):
        load("folder", directory=str(tmp_path / "images"))
    (tmp_path / "images" / "val" / "bees").rmdir()
    for name in ("__MACOSX", "#recycle", "@eaDir", "lost+found", ".Trashes"):
        (tmp_path / "images" / "train" / name).mkdir()
    assert load("folder", directory=str(tmp_path / "images")).class_names == ("ant", "bee", "cat")
    for path in (tmp_path / "images" / "val").glob("*/*"):
        path.unlink()
    with pytest.raises(InputError, match="its validation split is empty"):
        load("folder", directory=str(tmp_path / "images"))
    (tmp_path / "images" / "train" / "dog").mkdir()
    with pytest.raises(InputError, match=r"train/dog': holds no images"):
        load("folder", directory=str(tmp_path / "images"))


def test_class_names_that_look_the_same_are_told_apart(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """A class of the test split is refused if its name only looks like that of a class of train.

    The error shows both escaped. They differ in their Unicode form, as where macOS has changed
    the names of one of two copies.
    """
    write_folder(tmp_path, rng, {"train": 1, "test": 1})
    (tmp_path / "train" / "ant").rename(tmp_path / "train" / "e\u0301")
    (tmp_path / "test" / "ant").rename(tmp_path / "test" / "\xe9")
    reason = r"does not have: '\\xe9' and 'e\\u0301' look the same and differ in their Unicode"
    with pytest.raises(InputError, match=reason):
        load("folder", directory=str(tmp_path))


def test_files_of_a_folder_that_are_not_read_are_counted(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    write_folder(tmp_path, rng, {"train": 3, "val": 1})
    assert load("folder", directory=str(tmp_path)).notes == ()
    below = tmp_path / "train" / "cat" / "more" / "still"
    below.mkdir(parents=True)
    for name in ("x.jpg", "../y.jpg", "../.DS_Store", "../../._z.jpg", "../../Thumbs.db"):
        (below / name).write_bytes(b"")
    for name in ("a.jfif", "b.JFIF", "c.heic", "d.\x1b[31m", "e"):
        (tmp_path / "train" / "ant" / name).write_bytes(b"")
    (tmp_path / "val" / "bee" / "a.avif").write_bytes(b"")
    source = load("folder", directory=str(tmp_path))
    assert source.notes == (
        "files of train that are not read: 2 in subfolders of classes and 5 with other suffixes "
        "(.jfif, none, .heic)",
        "files of val that are not read: 1 with other suffixes (.avif)",
    )
    assert sum(map(len, source.splits.values())) == 12
