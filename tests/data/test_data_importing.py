"""Published archives, fabricated with few images: what is imported is what is in them."""

import hashlib
import io
import struct
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from tests.data import fabricate_archives as fabricate
from tests.data.contents import Pairs, contents, sorted_pairs
from tests.data.fabricate_archives import WNIDS, tar, write, write_idx, zipped
from xception_jax.data import Source, list_datasets, load, prepare
from xception_jax.data.idx import read_idx
from xception_jax.data.importing import IMPORTABLE, published
from xception_jax.errors import InputError


def pairs(source: Source, *splits: str) -> Pairs:
    return sorted(pair for split in splits for pair in contents(source, split))


def imported(name: str, path: Path, root: Path) -> Source:
    assert prepare(name, str(root), str(path)) is not None
    return load(name, directory=str(root))


# Every version from an archive, every other place, and every name of an unpacked folder.
CIFARS = [
    *(
        (name, version, "archive")
        for name in ("cifar10", "cifar100")
        for version in ("binary", "python2", "2", "4", "5")
    ),
    *(("cifar10", "binary", packed) for packed in ("file", "folder", "unpacked")),
    *(("cifar10", "python2", packed) for packed in ("folder", "unpacked")),
    *(("cifar100", version, "folder") for version in ("binary", "python2")),
]


@pytest.mark.parametrize(("name", "version", "packed"), CIFARS)
def test_cifar(name, version, packed, rng, tmp_path):
    files, expected = fabricate.cifar(name, version, rng, each=300 if name == "cifar100" else 20)
    path = tmp_path / "downloads"
    if packed in ("archive", "file"):
        kind = "binary" if version == "binary" else "python"
        archive = f"{name.replace('cifar', 'cifar-')}-{kind}.tar.gz"
        write(path, {archive: tar(files, "gz")})
        path = path / archive if packed == "file" else path
    else:
        write(path, files)
        path = path / next(iter(files)).split("/")[0] if packed == "unpacked" else path
    source = imported(name, path, tmp_path / "prepared")
    assert source.class_names == tuple(
        fabricate.CIFAR100 if name == "cifar100" else fabricate.CIFAR10
    )
    assert pairs(source, "train", "valid") == expected["train"]
    assert pairs(source, "test") == expected["test"]


def test_both_versions_of_cifar_store_the_same_bytes(tmp_path):
    digests = set()
    for version in ("binary", "python2"):
        files, _ = fabricate.cifar("cifar10", version, np.random.default_rng(5))
        write(tmp_path / version, files)
        stored = prepare("cifar10", str(tmp_path / f"{version}-stored"), str(tmp_path / version))
        assert stored is not None
        records = sorted(stored.glob("*array_record*"))
        assert len(records) == 2  # train and test
        digests.add(tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in records))
    assert len(digests) == 1


def test_svhn(rng, tmp_path):
    expected = fabricate.svhn(tmp_path, rng)
    source = imported("svhn_cropped", tmp_path, tmp_path / "prepared")
    assert source.class_names == tuple("0123456789")
    assert pairs(source, "train", "valid") == expected["train"]
    assert pairs(source, "test") == expected["test"]


def test_the_extra_images_of_svhn(rng, tmp_path):
    """They are a split of the set where their file is there, and trained on only when asked for."""
    expected = fabricate.svhn(tmp_path, rng, splits=("train", "test", "extra"))
    source = imported("svhn_cropped", tmp_path, tmp_path / "prepared")
    assert pairs(source, "train", "valid") == expected["train"]
    more = load("svhn_cropped", directory=str(tmp_path / "prepared"), train_split="extra")
    assert pairs(more, "train", "valid") == expected["extra"]
    assert pairs(more, "test") == expected["test"]


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
@pytest.mark.parametrize("place", ["", "raw"])
def test_idx_files(name, place, rng, tmp_path):
    expected = write_idx(tmp_path / "idx" / place, rng, 40, 20)
    for path in (tmp_path / "idx" / place).glob("t10k-*"):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))  # as some sites name them
    source = imported(name, tmp_path / "idx", tmp_path / "prepared")
    assert len(source.class_names) == 10
    assert source.licence == (None if name == "mnist" else "CC BY-SA 4.0")
    assert pairs(source, "train", "valid") == expected["train"]
    assert pairs(source, "test") == expected["test"]


@pytest.mark.parametrize(("name", "classes"), [("letters", 26), ("balanced", 47), ("byclass", 62)])
def test_emnist(name, classes, rng, tmp_path):
    """Its images are stored on their side, its letters with labels from 1."""
    expected = {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        write_idx(tmp_path, rng, 40, 20)
        images = read_idx(tmp_path / f"{stem}-images-idx3-ubyte.gz")
        labels = rng.integers(0, classes, len(images)).astype(np.uint8)
        start = tmp_path / "raw" / f"emnist-{name}-{split}"
        start.parent.mkdir(exist_ok=True)
        first = int(name == "letters")
        for kind, array in (("images-idx3", images), ("labels-idx1", labels + first)):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            start.with_name(f"{start.name}-{kind}-ubyte").write_bytes(header + array.tobytes())
        upright = np.stack([image.T for image in images])[..., np.newaxis]
        expected[split] = sorted_pairs(upright, labels)
    source = imported(f"emnist_{name}", tmp_path, tmp_path / "prepared")
    assert len(set(source.class_names)) == len(source.class_names) == classes
    assert pairs(source, "train", "valid") == expected["train"]
    assert pairs(source, "test") == expected["test"]


def decoded(files: dict[str, bytes], split: str, labels: dict[str, str] | None = None) -> Pairs:
    """The pixels and labels of the images under `split`, as Pillow decodes them."""
    from PIL import Image

    answer = []
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if split in parts and name.endswith(".JPEG"):
            label = (labels or {}).get(parts[-1]) or next(p for p in parts if p in WNIDS)
            pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
            answer.append((pixels.tobytes(), WNIDS.index(label)))
    return sorted(answer)


@pytest.mark.parametrize("packed", ["archive", "file", "folder"])
@pytest.mark.parametrize("name", ["imagenette", "tiny_imagenet"])
def test_trees_of_images(name, packed, rng, tmp_path):
    make = fabricate.imagenette if name == "imagenette" else fabricate.tiny_imagenet
    files = make(rng)
    path = tmp_path / "downloads"
    if packed == "folder":
        write(path, files)
        write(path, {"x/._train/._0.JPEG": b"\0\5\x16\7"})  # what macOS leaves
    else:
        archive = "imagenette2-160.tgz" if name == "imagenette" else "tiny-imagenet-200.zip"
        write(path, {archive: tar(files, "gz") if name == "imagenette" else zipped(files)})
        path = path / archive if packed == "file" else path
    source = imported(name, path, tmp_path / "prepared")
    assert source.class_names == WNIDS
    assert pairs(source, "train", "valid") == decoded(files, "train")
    labels = {f"val_{number}.JPEG": WNIDS[number % 3] for number in range(6)}
    assert pairs(source, "test") == decoded(files, "val", labels)


@pytest.mark.parametrize(
    "packed", ["tars", "inner tars", "folder", "kaggle", "tar and folder", "folders and a tar"]
)
def test_imagenet(packed, rng, tmp_path):
    """The list of the validation images' classes is that of TFDS: the first is a n01751748."""
    wnids = ("n01751748", "n09193705")
    train = {
        wnid: fabricate.photos(rng, [f"{wnid}_{number}.JPEG" for number in range(8)])
        for wnid in wnids
    }
    val = fabricate.photos(rng, ["ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"])
    inner = {f"{wnid}.tar": tar(files) for wnid, files in train.items()}
    if packed == "inner tars":
        write(tmp_path / "in/train", inner)
        write(tmp_path / "in/val", val)
    elif packed == "tars":
        outer = {"ILSVRC2012_img_train.tar": tar(inner), "ILSVRC2012_img_val.tar": tar(val)}
        write(tmp_path / "in", outer)
    elif packed == "tar and folder":
        write(tmp_path / "in", {"ILSVRC2012_img_train.tar": tar(inner)})
        write(tmp_path / "in/val", val)
    else:
        if packed == "folders and a tar":
            write(tmp_path / "in", {"ILSVRC2012_img_val.tar": tar(val)})
        root = "ILSVRC/Data/CLS-LOC/" if packed == "kaggle" else ""
        for wnid, files in train.items():
            write(tmp_path / "in" / f"{root}train/{wnid}", files)
        write(tmp_path / "in" / f"{root}val", val)
    source = imported("imagenet2012", tmp_path / "in", tmp_path / "prepared")
    assert source.class_names == wnids
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sizes == {"train": 14, "valid": 2, "test": 2}
    test = source.splits["test"]
    read = test.records.read(range(2))
    expected = {val["ILSVRC2012_val_00000001.JPEG"]: 0, val["ILSVRC2012_val_00000002.JPEG"]: 1}
    assert {content: label for content, label in read} == expected  # noqa: C416 - as bytes


def test_importing_needs_no_tensorflow(rng, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    write(tmp_path, fabricate.cifar("cifar10", "binary", rng)[0])
    with pytest.raises(InputError, match=r"TensorFlow.*; or add --from DIR.*cifar-10-binary\.tar"):
        prepare("cifar10", str(tmp_path / "prepared"))
    imported("cifar10", tmp_path, tmp_path / "prepared")
    with pytest.raises(InputError, match=r"is imported from an archive: add --from DIR"):
        prepare("tiny_imagenet", str(tmp_path / "prepared"))
    with pytest.raises(InputError, match=r"prepare tiny_imagenet --from DIR`"):
        load("tiny_imagenet", directory=str(tmp_path / "prepared"))
    listed = {row.name: row for row in list_datasets(str(tmp_path / "prepared"))}
    assert listed.keys() >= IMPORTABLE.keys()
    assert listed["cifar10"].prepared
    assert not listed["tiny_imagenet"].prepared


def test_progress_and_notes_are_given(rng, tmp_path, monkeypatch):
    write(tmp_path, {"cifar-10-binary.tar.gz": tar(fabricate.cifar("cifar10", "binary", rng)[0])})
    reports: list[str] = []
    notes: list[str] = []
    prepare("cifar10", str(tmp_path / "p"), str(tmp_path), report=reports.append, note=notes.append)
    assert "train: 300 of 300 images read" in reports
    assert notes == [
        "cifar-10-binary.tar.gz is not the published file, whose size is 170,052,171 bytes",
        "the train split has 300 images; that of the published set has 50,000",
        "the test split has 60 images; that of the published set has 10,000",
    ]
    known = {"train": (300,), "test": (59, 61)}
    monkeypatch.setitem(published.EXAMPLES, "cifar10", known)
    write(tmp_path / "unpacked", fabricate.cifar("cifar10", "binary", rng)[0])
    notes.clear()
    prepare("cifar10", str(tmp_path / "q"), str(tmp_path / "unpacked"), note=notes.append)
    assert notes == ["the test split has 60 images; that of the published set has 59 or 61"]


def test_the_published_numbers_of_images_are_known_for_every_set():
    assert published.EXAMPLES.keys() == IMPORTABLE.keys()


@pytest.mark.parametrize("name", ["fashion_mnist_mini", "fashion_mnist_mosaic", "digits", "folder"])
def test_a_set_that_is_not_imported_says_so(name, call, tmp_path):
    code, out, err = call("data", "prepare", name, "--from", tmp_path)
    assert (code, out) == (2, "")
    start = f"xception-jax: --from='{tmp_path}': is for sets that are imported, not for {name}: "
    assert err.startswith(start)
    if name != "fashion_mnist_mini":
        assert call("data", "prepare", name) == (0, f"{name} needs no preparation\n", "")


def test_a_set_that_is_prepared_is_said_not_to_be_imported_again(rng, tmp_path):
    notes: list[str] = []
    write_idx(tmp_path / "a", rng, 20, 10)
    first = prepare("mnist", str(tmp_path / "p"), str(tmp_path / "a"), note=notes.append)
    assert prepare("mnist", str(tmp_path / "p"), note=notes.append) == first
    notes.clear()  # of the sizes of the files
    again = prepare("mnist", str(tmp_path / "p"), str(tmp_path / "b"), note=notes.append)
    assert again == first
    (note,) = notes
    assert f"prepared before, and nothing was imported from {tmp_path / 'b'}" in note
    assert f"move {first} away" in note


def test_a_file_of_the_published_size_must_be_the_published_one(rng, tmp_path, monkeypatch):
    content = tar(fabricate.cifar("cifar10", "binary", rng)[0], "gz")
    write(tmp_path, {"cifar-10-binary.tar.gz": content})
    for digest in (hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()):
        known = {"cifar-10-binary.tar.gz": published.Published(len(content), digest)}
        monkeypatch.setitem(published.PUBLISHED, "cifar10", known)
        monkeypatch.setitem(published.EXAMPLES, "cifar10", {})
        notes: list[str] = []
        prepare("cifar10", str(tmp_path / digest), str(tmp_path), note=notes.append)
        assert notes == []
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    write(tmp_path, {"cifar-10-binary.tar.gz": bytes(damaged)})
    with pytest.raises(InputError, match="is damaged: its checksum is not the published"):
        prepare("cifar10", str(tmp_path / "damaged"), str(tmp_path))
