"""Published data sets in their real layouts, with few random images."""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from tests.data.contents import Pairs, sorted_pairs
from tests.data.fabricate import encode

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CIFAR100 = [f"fine_{number:02}" for number in range(100)]
WNIDS = ("n01440764", "n02102040", "n02979186")


def tar(files: Mapping[str, bytes], compression: str = "") -> bytes:
    """A tar of these files."""
    buffer = io.BytesIO()
    mode: Any = f"w:{compression}"
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write(root: Path, files: Mapping[str, bytes]) -> None:
    """Writes files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def python_2_pickle(content: Mapping[str, Any]) -> bytes:
    """A pickle of protocol 2 as Python 2 wrote it: text is SHORT_BINSTRING, as in CIFAR's files."""

    def text(value: bytes) -> bytes:
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + struct.pack("<i", len(value)) + value

    def of(value: Any) -> bytes:
        if isinstance(value, str):
            return text(value.encode())
        if isinstance(value, int):
            return b"K" + bytes([value])
        if isinstance(value, list):
            return b"](" + b"".join(map(of, value)) + b"e"
        rows, columns = value.shape
        empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        minus_one = b"J\xff\xff\xff\xff"
        kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        kind += b"(K\x03U\x01|NNN" + 2 * minus_one + b"K\x00tb"
        shape = b"M" + struct.pack("<H", rows) + b"M" + struct.pack("<H", columns) + b"\x86"
        return empty + b"(K\x01" + shape + kind + b"\x89" + text(value.tobytes()) + b"tb"

    pairs = b"".join(of(key) + of(value) for key, value in content.items())
    return b"\x80\x02}(" + pairs + b"u."


def cifar(
    name: str, version: str, rng: np.random.Generator, each: int = 60
) -> tuple[dict[str, bytes], dict[str, Pairs]]:
    """The files of CIFAR-10 or -100, and the sorted (pixels, label) of each split.

    Args:
        name: `cifar10` or `cifar100`.
        version: `binary`, `python2` as published, or the protocol of a pickle of Python 3.
        rng: source of the images.
        each: number of images in each file.
    """
    fine = name == "cifar100"
    batches = ["train"] if fine else [f"data_batch_{number}" for number in range(1, 6)]
    names = CIFAR100 if fine else CIFAR10
    files: dict[str, bytes] = {}
    written: dict[str, list] = {"train": [], "test": []}
    for batch in (*batches, "test" if fine else "test_batch"):
        rows = rng.integers(0, 256, (each, 3072), np.uint8)
        labels, coarse = rng.integers(0, len(names), each), rng.integers(0, 20, each)
        split = "test" if batch.startswith("test") else "train"
        written[split].append((rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels))
        if version == "binary":
            before = [coarse, labels] if fine else [labels]
            table = np.concatenate([np.stack(before, 1).astype(np.uint8), rows], 1)
            files[f"{batch}.bin"] = table.tobytes()
            continue
        content = {"batch_label": "a batch", "filenames": ["a.png"] * each, "data": rows}
        content["fine_labels" if fine else "labels"] = labels.tolist()
        if version == "python2":
            files[batch] = python_2_pickle(content)
        else:
            files[batch] = pickle.dumps(content, protocol=int(version))
    listed = {"fine_label_names" if fine else "label_names": list(names)}
    if version == "binary":
        listing = "fine_label_names.txt" if fine else "batches.meta.txt"
        files[listing] = ("\n".join(names) + "\n\n").encode()
    else:
        meta = python_2_pickle(listed) if version == "python2" else pickle.dumps(listed, protocol=4)
        files["meta" if fine else "batches.meta"] = meta
    folders = {
        "cifar10": "cifar-10-batches-bin" if version == "binary" else "cifar-10-batches-py",
        "cifar100": "cifar-100-binary" if version == "binary" else "cifar-100-python",
    }
    pairs = {
        split: sorted_pairs(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
        for split, parts in written.items()
    }
    return {f"{folders[name]}/{file}": content for file, content in files.items()}, pairs


def svhn(
    root: Path,
    rng: np.random.Generator,
    count: int = 30,
    splits: Sequence[str] = ("train", "test"),
) -> dict[str, Pairs]:
    """Writes SVHN's files, compressed as published."""
    written = {}
    for split in splits:
        images = rng.integers(0, 256, (32, 32, 3, count), np.uint8)
        labels = rng.integers(1, 11, (count, 1)).astype(np.uint8)
        content = {"X": images, "y": labels}
        scipy.io.savemat(root / f"{split}_32x32.mat", content, do_compression=True)
        written[split] = sorted_pairs(images.transpose(3, 0, 1, 2), labels.ravel() % 10)
    return written


def photos(rng: np.random.Generator, names: list[str]) -> dict[str, bytes]:
    """A JPEG image under each name."""
    return {name: encode(rng.integers(0, 256, (9, 8, 3), np.uint8), "JPEG") for name in names}


def imagenette(rng: np.random.Generator, each: int = 5) -> dict[str, bytes]:
    return photos(
        rng,
        [
            f"imagenette2-160/{split}/{wnid}/{wnid}_{split}_{number}.JPEG"
            for split in ("train", "val")
            for wnid in WNIDS
            for number in range(each)
        ],
    )


def tiny_imagenet(rng: np.random.Generator, each: int = 5) -> dict[str, bytes]:
    """Its validation images lie in one folder, and a list says their classes."""
    root = "tiny-imagenet-200"
    train = [
        f"{root}/train/{wnid}/images/{wnid}_{number}.JPEG"
        for wnid in WNIDS
        for number in range(each)
    ]
    files = photos(rng, train)
    listed = []
    for number in range(6):
        files |= photos(rng, [f"{root}/val/images/val_{number}.JPEG"])
        listed.append(f"val_{number}.JPEG\t{WNIDS[number % 3]}\t0\t32\t44\t62")
    files |= photos(rng, [f"{root}/test/images/test_{number}.JPEG" for number in range(3)])
    files[f"{root}/val/val_annotations.txt"] = "\n".join(listed).encode()
    files[f"{root}/wnids.txt"] = "\n".join(reversed(WNIDS)).encode()
    return files


def write_idx(directory: Path, rng: np.random.Generator, train: int, test: int) -> dict[str, Pairs]:
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
        written[split] = sorted_pairs(images, labels)
    return written
