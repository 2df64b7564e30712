"""`fashion_mnist_mosaic`: four shipped images in a square, labelled with the set of classes shown.

A real multi-label set that needs no download. Its definition is fixed and knows no seed:

* Every tile is drawn by itself: first a class, the r-th one in the order of the labels with a
  probability proportional to 1/r (a long tail, as labels in the world have), then an image of that
  class, all of them alike.
* A split's tiles come from images that no other split has: `test` from the shipped test images,
  `validation` from the last tenth of each class's training images, `train` from the others. An
  image may be in several mosaics of its split.

TFDS has no part in it, unlike in other sets: its one class per image is what this set is not about,
and storing the mosaics would take longer than making them, which takes a fraction of a second.
"""

import numpy as np

from xception_jax.data import shipped
from xception_jax.data.order import random_bits
from xception_jax.data.splits import ArrayRecords, Records

NAME = "fashion_mnist_mosaic"
MOSAICS = {"train": 8000, "validation": 1000, "test": 1500}
TILES = 4
VALIDATION_SHARE = 0.1


def read_mosaic() -> tuple[tuple[str, ...], tuple[float, ...], dict[str, Records]]:
    """Class names, the share of training mosaics that show each, and the records of each part.

    The parts are "train", "validation" and "test"; images uint8 [n, 56, 56, 1], labels uint8
    [n, 10] with a one for each class shown.

    Raises:
        InputError: the shipped images are missing or damaged.
    """
    images = shipped.read_shipped()
    pools = {"test": (images["test"][0], _by_class(images["test"][1]))}
    held_out, kept = [], []
    for members in _by_class(images["train"][1]):
        count = round(VALIDATION_SHARE * len(members))
        kept.append(members[:-count])
        held_out.append(members[-count:])
    pools |= {"train": (images["train"][0], kept), "validation": (images["train"][0], held_out)}
    parts = {split: _mosaics(split, *pools[split]) for split in MOSAICS}
    shares = parts["train"].labels.mean(axis=0)
    return shipped.CLASS_NAMES, tuple(shares.tolist()), dict(parts)


def _by_class(labels: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(labels == label) for label in range(len(shipped.CLASS_NAMES))]


def _mosaics(split: str, images: np.ndarray, members: list[np.ndarray]) -> ArrayRecords:
    """The mosaics of one split.

    Args:
        split: its name, which sets the draws.
        images: uint8 [n, side, side, 1].
        members: for each class the indices of the images it may be shown by.
    """
    count = MOSAICS[split]
    stream = f"{NAME} {split}"
    classes = _long_tailed(random_bits(0, stream, 0, count * TILES), len(members))
    draws = random_bits(0, stream, 1, count * TILES)
    sizes = np.array([len(indices) for indices in members], np.uint64)
    # As `augment` does: 64 bits modulo a thousand favour no image by more than one in 10^16.
    within = (draws % sizes[classes]).astype(np.int64)
    chosen = np.array([members[label][at] for label, at in zip(classes, within, strict=True)])
    labels = np.zeros((count, len(members)), np.uint8)
    labels[np.repeat(np.arange(count), TILES), classes] = 1
    return ArrayRecords(split, _tiled(images[chosen]), labels)


def _long_tailed(bits: np.ndarray, classes: int) -> np.ndarray:
    """A class for each of the random `bits`: class r - 1 with a weight of 1/r, int64 [n].

    In whole numbers, so that no machine rounds a draw to another class.
    """
    ranks = np.arange(1, classes + 1)
    edges = np.cumsum(np.lcm.reduce(ranks) // ranks).astype(np.uint64)
    return np.searchsorted(edges, bits % edges[-1], side="right")


def _tiled(tiles: np.ndarray) -> np.ndarray:
    """Squares of four tiles in reading order, [4 n, side, side, 1] -> [n, 2 side, 2 side, 1]."""
    side = tiles.shape[1]
    grid = tiles.reshape(-1, 2, 2, side, side, 1)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 2 * side, 2 * side, 1)
