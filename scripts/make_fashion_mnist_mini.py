"""Makes the data set shipped in `xception_jax/data/fashion_mnist_mini/`.

    apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb DEB
    python scripts/make_fashion_mnist_mini.py DEB

The rule: of each class the first 1,200 training and the first 200 test images, in the order of
Fashion-MNIST's own files. Run twice it writes the same bytes (for one version of Pillow: another
one may compress the same pixels differently).
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from xception_jax.data.idx import read_labelled_images
from xception_jax.data.shipped import COLUMNS, DIRECTORY, PER_SHEET, SIDE

PER_CLASS = {"train": ("train", 1200), "test": ("t10k", 200)}


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Sorted indices of the first `count` examples of every class."""
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:count] for c in range(10)]))


def sheet(images: np.ndarray) -> Image.Image:
    """Tiles images [PER_SHEET, SIDE, SIDE, 1] row by row, `COLUMNS` in a row."""
    rows = len(images) // COLUMNS
    tiles = images.reshape(rows, COLUMNS, SIDE, SIDE).swapaxes(1, 2)
    return Image.fromarray(tiles.reshape(rows * SIDE, COLUMNS * SIDE))


def main() -> None:
    """Writes sprites, labels, checksums and the licence."""
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
    data = sorted([*output.glob("*.png"), *output.glob("*-labels.txt")])
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in data]
    (output / "SHA256SUMS").write_text("".join(sums))


if __name__ == "__main__":
    main()
