"""Makes the data set shipped in `xception_jax/data/fashion_mnist_mini/`.

    apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb DEB
    python scripts/make_fashion_mnist_mini.py DEB

The rule: of each class the first 1,200 training and the first 200 test images, in the order of
Fashion-MNIST's own files. Run twice it writes the same bytes (for one version of Pillow: another
one may compress the same pixels differently).
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from xception_jax.data import builders, prepare
from xception_jax.data.idx import read_labelled_images
from xception_jax.data.images import decode
from xception_jax.data.shipped import COLUMNS, DIRECTORY, NAME, PER_SHEET, SIDE, read_shipped
from xception_jax.data.splits import Records

DATA = "*.png", "*-labels.txt", "*-order.npy"
PER_CLASS = {"train": ("train", 1200), "test": ("t10k", 200)}


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Sorted indices of the first `count` examples of every class."""
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:count] for c in range(10)]))


def sheet(images: np.ndarray) -> Image.Image:
    """Tiles images [PER_SHEET, SIDE, SIDE, 1] row by row, `COLUMNS` in a row."""
    rows = len(images) // COLUMNS
    tiles = images.reshape(rows, COLUMNS, SIDE, SIDE).swapaxes(1, 2)
    return Image.fromarray(tiles.reshape(rows * SIDE, COLUMNS * SIDE))


def stored_order(images: np.ndarray, labels: np.ndarray, records: Records) -> np.ndarray:
    """The row of each stored example among images [n, SIDE, SIDE, 1] and labels [n], uint16 [n]."""
    rows = {
        (image.tobytes(), int(label)): row
        for row, (image, label) in enumerate(zip(images, labels, strict=True))
    }
    stored = records.read(range(len(records)))
    return np.array(
        [rows[decode(image, 1, "").tobytes(), int(label)] for image, label in stored], np.uint16
    )


def write_orders(output: Path) -> None:
    """Stores the data set through TFDS, and writes the order in which it stores the examples."""
    with tempfile.TemporaryDirectory() as directory:
        path = prepare(NAME, directory)
        assert path is not None
        _, _, parts = builders.read(NAME, path)
        for split, (images, labels) in read_shipped(output).items():
            np.save(output / f"{split}-order.npy", stored_order(images, labels, parts[split]))


def write_checksums(output: Path) -> None:
    """Writes the SHA-256 of every file of the data set that is there."""
    data = sorted(path for pattern in DATA for path in output.glob(pattern))
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in data]
    (output / "SHA256SUMS").write_text("".join(sums))


def main() -> None:
    """Writes sprites, labels, their order in TFDS, checksums and the licence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path, help="dataset-fashion-mnist, extracted by dpkg -x")
    parser.add_argument("--output", type=Path, default=DIRECTORY)
    arguments = parser.parse_args()
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    for split, (stem, count) in PER_CLASS.items():
        source = arguments.package / "usr/share/datasets/fashion-mnist"
        images, labels = read_labelled_images(source, stem)
        chosen = first_of_each_class(labels, count)
        for number, part in enumerate(np.split(chosen, len(chosen) // PER_SHEET)):
            sheet(images[part]).save(output / f"{split}-{number}.png", optimize=True)
        digits = "".join(map(str, labels[chosen]))
        lines = [digits[at : at + COLUMNS] for at in range(0, len(digits), COLUMNS)]
        (output / f"{split}-labels.txt").write_text("\n".join(lines) + "\n")
    licence = arguments.package / "usr/share/doc/dataset-fashion-mnist/copyright"
    (output / "LICENSE").write_bytes(licence.read_bytes())
    write_checksums(output)
    write_orders(output)
    write_checksums(output)


if __name__ == "__main__":
    main()
