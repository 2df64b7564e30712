"""What a source of a data set holds, read whole: the pixels and the label of every image."""

from typing import Any

import numpy as np

from xception_jax.data import Source
from xception_jax.data.images import CorruptImage


def contents(source: Source, split: str) -> list[tuple[bytes, Any]]:
    """The (pixels, label) of every image of a split, in its order."""
    part = source.splits[split]
    pairs = []
    for pair in part.read_many(range(len(part)), lambda image, _: np.asarray(image).tobytes()):
        assert not isinstance(pair, CorruptImage)
        pairs.append(pair)
    return pairs
