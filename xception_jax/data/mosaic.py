"""`fashion_mnist_mosaic`: four shipped images in a square, labelled with the set of classes shown.

This is a multi-label data set of real images that needs no download. Its definition is fixed and
depends on no seed:

* Every tile is drawn independently: first a class, where the r-th class in label order has a
  probability proportional to 1/r (a long tail, as real labels often have), then an image of that
  class, uniformly.
* No image is in two splits: `test` is made of the shipped test images, `validation` of the last
  tenth of each class's training images, and `train` of the others. An image may appear in several
  mosaics of its split.

The mosaics are not stored through TFDS as other data sets are: its labels are single classes, and
storing would take longer than making them, which takes a fraction of a second.
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
    """Makes the mosaics of every split.

    Returns:
        The class names, the share of training mosaics that show each class, and the records of
        "train", "validation" and "test": images uint8 [n, 56, 56, 1], and labels uint8 [n, 10]
        with a one for each class shown.

    Raises:
        InputError: the shipped images are missing or damaged.
    """
    images = shipped.read_shipped()
    pools = {"test": (images["test"][0], _by_class(images["test"][1]))}
    held_out, kept = [], []
    for indices in _by_class(images["train"][1]):
        count = round(VALIDATION_SHARE * len(indices))
        kept.append(indices[:-count])
        held_out.append(indices[-count:])
    pools |= {"train": (images["train"][0], kept), "validation": (images["train"][0], held_out)}
    parts = {split: _make_mosaics(split, *pools[split]) for split in MOSAICS}
    shares = parts["train"].labels.mean(axis=0)
    return shipped.CLASS_NAMES, tuple(shares.tolist()), dict(parts)


def _by_class(labels: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(labels == label) for label in range(len(shipped.CLASS_NAMES))]


def _make_mosaics(split: str, images: np.ndarray, pool: list[np.ndarray]) -> ArrayRecords:
    """Makes the mosaics of one split.

    Args:
        split: name of the split, which determines the random draws.
        images: uint8 [n, side, side, 1].
        pool: for each class, the indices of the images that may show it.
    """
    count = MOSAICS[split]
    stream = f"{NAME} {split}"
    classes = _long_tailed_classes(random_bits(0, stream, 0, count * TILES), len(pool))
    draws = random_bits(0, stream, 1, count * TILES)
    sizes = np.array([len(indices) for indices in pool], np.uint64)
    # Taking 64 random bits modulo a thousand has a bias below one in 10^16.
    offsets = (draws % sizes[classes]).astype(np.int64)
    chosen = np.array([pool[label][offset] for label, offset in zip(classes, offsets, strict=True)])
    labels = np.zeros((count, len(pool)), np.uint8)
    labels[np.repeat(np.arange(count), TILES), classes] = 1
    return ArrayRecords(split, _join_tiles(images[chosen]), labels)


def _long_tailed_classes(bits: np.ndarray, classes: int) -> np.ndarray:
    """Maps random bits to classes, int64 [n], where class r - 1 has the weight 1/r.

    The arithmetic is in integers, so that rounding cannot make classes differ between machines.
    """
    ranks = np.arange(1, classes + 1)
    edges = np.cumsum(np.lcm.reduce(ranks) // ranks).astype(np.uint64)
    return np.searchsorted(edges, bits % edges[-1], side="right")


def _join_tiles(tiles: np.ndarray) -> np.ndarray:
    """Joins every four tiles in reading order, [4 n, side, side, 1] -> [n, 2 side, 2 side, 1]."""
    side = tiles.shape[1]
    grid = tiles.reshape(-1, 2, 2, side, side, 1)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 2 * side, 2 * side, 1)
