"""Tests of every source of data sets, against the files they are made from."""

import gzip
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.fabricate import encode, write_folder
from tests.programs import program, run_program
from xception_jax.data import Source, idx, list_datasets, load, prepare, shipped
from xception_jax.data.idx import read_idx
from xception_jax.data.images import CorruptImage
from xception_jax.data.splits import ArrayRecords
from xception_jax.errors import InputError


def contents(source: Source, split: str) -> list[tuple[bytes, Any]]:
    part = source.splits[split]
    pairs = []
    for pair in part.read_many(range(len(part)), lambda image, _: np.asarray(image).tobytes()):
        assert not isinstance(pair, CorruptImage)
        pairs.append(pair)
    return pairs


def write_idx(directory: Path, rng: np.random.Generator, train: int, test: int) -> dict[str, list]:
    """Writes random idx files without the package; returns sorted (pixels, label) of each split."""
    directory.mkdir(parents=True, exist_ok=True)
    written = {}
    for split, stem, count in (("train", "train", train), ("test", "t10k", test)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.integers(0, 10, count).astype(np.uint8)
        header = struct.pack(">BBBBIII", 0, 0, 8, 3, count, 28, 28)
        content = gzip.compress(header + images.tobytes(), 1)
        (directory / f"{stem}-images-idx3-ubyte.gz").write_bytes(content)
        content = struct.pack(">BBBBI", 0, 0, 8, 1, count) + labels.tobytes()
        (directory / f"{stem}-labels-idx1-ubyte").write_bytes(content)
        written[split] = sorted((i.tobytes(), int(n)) for i, n in zip(images, labels, strict=True))
    return written


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
        read = [part.read(index) for index in range(20)]
        assert [(np.asarray(image).tobytes(), label) for image, label in read] == held[:20]
        assert shipped_set.splits[split].name(3) == of_tfds.splits[split].name(3)


def test_mini_needs_no_tfds() -> None:
    program = "import sys; from xception_jax.data import load; load('fashion_mnist_mini'); "
    program += "sys.exit('tensorflow_datasets' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_both_parts_of_training_are_all_of_the_sheets(stored) -> None:
    everything = shipped.read_shipped()["train"]
    whole = sorted((i.tobytes(), int(n)) for i, n in zip(*everything, strict=True))
    assert sorted(stored["valid"] + stored["train"]) == whole


def test_validation_split_is_fixed_and_fair(prepared: str) -> None:
    """The positions of both parts in the records are compared; the test above reads these."""
    source = load("fashion_mnist_mini", directory=prepared, validation_fraction=0.2)
    valid, train = source.splits["valid"], source.splits["train"]
    assert len(valid) == 2400
    assert valid.records is train.records
    everything = np.concatenate([valid.indices, train.indices])
    assert np.array_equal(np.sort(everything), np.arange(12_000))
    labels = valid.known_labels()
    assert labels is not None
    assert labels[:20].tolist() == [valid.read(i)[1] for i in range(20)]
    shares = np.bincount(labels) / len(valid)
    # Five standard deviations of a class's share in a random fifth.
    np.testing.assert_allclose(shares, 0.1, atol=5 * np.sqrt(0.1 * 0.9 * 0.8 / 2400))


@pytest.mark.parametrize("split_seed", [None, 3])
def test_train_examples_are_a_random_sample(prepared: str, split_seed: int | None) -> None:
    """Held-out examples are the first of their class, so that those after them are no sample."""
    settings: Any = {"directory": prepared, "split_seed": split_seed}
    every = load("fashion_mnist_mini", **settings).splits
    few, more = (
        load("fashion_mnist_mini", **settings, train_examples=count).splits for count in (100, 1000)
    )
    assert np.array_equal(few["train"].indices, more["train"].indices[:100])
    assert set(more["train"].indices) < set(every["train"].indices)
    assert np.array_equal(few["valid"].indices, every["valid"].indices)
    for split in (few["train"], more["train"]):
        labels = split.known_labels()
        assert labels is not None
        shares = np.bincount(labels, minlength=10) / len(labels)
        # Five standard deviations of a class's share in a random sample.
        np.testing.assert_allclose(shares, 0.1, atol=5 * np.sqrt(0.1 * 0.9 / len(labels)))


def test_more_train_examples_than_there_are_are_refused(prepared: str) -> None:
    with pytest.raises(InputError, match=r"data\.train_examples=10801.*value: 10800"):
        load("fashion_mnist_mini", directory=prepared, train_examples=10801)


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


def test_killed_preparation_leaves_nothing_wrong(tmp_path: Path, rng: np.random.Generator) -> None:
    written = write_idx(tmp_path / "idx", rng, 6000, 50)
    directory = tmp_path / "prepared"
    words = program("prepare_data", "fashion_mnist", directory, tmp_path / "idx")
    child = subprocess.Popen(words)
    deadline = time.monotonic() + 30
    while not list(directory.glob("fashion_mnist/incomplete.*")):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
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


def test_reading_needs_no_tensorflow(prepared: str, tmp_path: Path) -> None:
    """The `tensorflow` on the path is a stub that ends the process when it is imported."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise SystemExit('tensorflow!')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run_program("read_image", prepared, PYTHONPATH=path)
    assert (done.stdout, done.returncode) == ("(28, 28)\n", 0), done.stderr


def test_import_is_light() -> None:
    heavy = ("jax", "grain", "tensorflow_datasets", "PIL", "sklearn")
    done = run_program("find_imports", "xception_jax.data", *heavy)
    assert done.stdout == "\n", done.stderr


def test_names_that_do_not_work_say_what_does(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.name='cifer10': unknown.*'cifar10'"):
        load("cifer10", directory=str(tmp_path))
    with pytest.raises(InputError, match=r"not prepared in .*`xception-jax data prepare cifar10`"):
        load("cifar10", directory=str(tmp_path))
    with pytest.raises(InputError, match=r"prepare fashion_mnist --from DIR`"):
        load("fashion_mnist", directory=str(tmp_path))
    with pytest.raises(InputError, match="must have the form"):
        load("../secret", directory=str(tmp_path))


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


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    source = load("digits")
    assert sum(len(split) for split in source.splits.values()) == 1797
    pairs = [pair for split in source.splits for pair in contents(source, split)]
    digits = load_digits()
    pixels = np.round(digits.images / 16 * 255).astype(np.uint8)
    assert sorted(pairs) == sorted(
        (i.tobytes(), int(n)) for i, n in zip(pixels, digits.target, strict=True)
    )


def test_set_without_labelled_test_uses_its_validation_split(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Like imagenet2012: all test labels are -1, so `validation` becomes the test split."""
    from xception_jax.data.storing import ArraySet, Description, store

    parts = {
        split: (rng.integers(0, 256, (n, 8, 8, 3), np.uint8), rng.integers(0, 3, n))
        for split, n in (("train", 40), ("validation", 10), ("test", 7))
    }
    parts["test"][1][:] = -1
    store(ArraySet(Description("few", "1.0.0", "", "", ("a", "b", "c")), parts), str(tmp_path))
    source = load("few", directory=str(tmp_path))
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 36,
        "valid": 4,
        "test": 10,
    }
    expected = sorted((i.tobytes(), int(n)) for i, n in zip(*parts["validation"], strict=True))
    assert sorted(contents(source, "test")) == expected


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
        image, label = train.read(index)
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
        assert {part.read(0)[0].size for part in source.splits.values()} == {size}


def test_a_folder_with_train_alone_is_split(tmp_path: Path, rng: np.random.Generator) -> None:
    write_folder(tmp_path, rng, {"train": 8})
    source = load("folder", directory=str(tmp_path))
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sizes == {"train": 18, "valid": 3, "test": 3}
    labels = {
        name: {split.read(index)[1] for index in range(len(split))}
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
    """As macOS changes the names of one of two copies."""
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
