"""`fashion_mnist_mini`, the data set that comes with the package, as sheets of tiled images.

Sheets, because 14,000 PNG files of 400 bytes would take 56 MB of disk blocks, and one large array
would not show in a picture viewer. `scripts/make_fashion_mnist_mini.py` made them.
"""

import hashlib
from pathlib import Path

import numpy as np

from xception_jax.errors import InputError

NAME = "fashion_mnist_mini"
VERSION = "1.0.0"
DIRECTORY = Path(__file__).parent / NAME
SIDE = 28
COLUMNS = 40
PER_SHEET = 2000
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_shipped(directory: Path = DIRECTORY) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images uint8 [n, 28, 28, 1] and labels int32 [n] of "train" (12,000) and "test" (2,000).

    Raises:
        InputError: a file is missing, or is not what `SHA256SUMS` says it should be.
    """
    names = verify(directory)
    splits = {}
    for split in ("train", "test"):
        sheets = [n for n in names if n.startswith(f"{split}-") and n.endswith(".png")]
        ordered = sorted(sheets, key=lambda name: int(name.removesuffix(".png").split("-")[1]))
        images = np.concatenate([_tiles(directory / name) for name in ordered])
        digits = "".join((directory / f"{split}-labels.txt").read_text().split())
        splits[split] = (images, np.array(list(digits), np.int32))
    return splits


def verify(directory: Path) -> list[str]:
    """Names of the files that `directory/SHA256SUMS` lists, after checking each against it.

    Raises:
        InputError: a file is missing or differs.
    """
    reinstall = "; install xception-jax again"
    names = []
    try:
        for line in (directory / "SHA256SUMS").read_text().splitlines():
            expected, name = line.split()
            found = hashlib.sha256((directory / name).read_bytes()).hexdigest()
            if found != expected:
                reason = (
                    f"{directory / name} is damaged: sha256 {found[:12]}…, not {expected[:12]}…"
                )
                raise InputError("data.name", NAME, reason + reinstall)
            names.append(name)
    except OSError as error:
        reason = f"{error.filename} is missing{reinstall}"
        raise InputError("data.name", NAME, reason) from error
    return names


def _tiles(path: Path) -> np.ndarray:
    from PIL import Image

    pixels = np.asarray(Image.open(path))
    rows = pixels.shape[0] // SIDE
    tiles = pixels.reshape(rows, SIDE, COLUMNS, SIDE).swapaxes(1, 2)
    return tiles.reshape(rows * COLUMNS, SIDE, SIDE, 1)
