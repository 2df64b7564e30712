"""Images and labels of data sets, as they are read and as they were written."""

from typing import Any

import numpy as np
from PIL import Image

from xception_jax.data import Source, Split
from xception_jax.data.images import CorruptImage, Encoded, decode_and

Pairs = list[tuple[bytes, int]]


def decode(encoded: Encoded, channels: int, name: str, *, upright: bool = True) -> Image.Image:
    """The image itself; it raises `CorruptImage` where there is none."""
    return decode_and(lambda image: image, encoded, channels, name, upright=upright)


def example(split: Split, index: int) -> tuple[Image.Image, Any]:
    """The image and the label of an example; it raises `CorruptImage` where there is no image."""
    (read,) = split.read_many([index], lambda image, _: image)
    if isinstance(read, CorruptImage):
        raise read
    return read


def contents(source: Source, split: str) -> list[tuple[bytes, Any]]:
    """The (pixels, label) of every image of a split, in its order."""
    part = source.splits[split]
    pairs = []
    for pair in part.read_many(range(len(part)), lambda image, _: np.asarray(image).tobytes()):
        assert not isinstance(pair, CorruptImage)
        pairs.append(pair)
    return pairs


def sorted_pairs(images: np.ndarray, labels: np.ndarray) -> Pairs:
    """The sorted (pixels, label) of arrays of images and their labels."""
    return sorted((i.tobytes(), int(n)) for i, n in zip(images, labels, strict=True))
