"""Reading examples of a split as pixels, and handling images that cannot be decoded.

With the policy `stop`, the first image that cannot be decoded ends the run. With `skip`, it is
recorded, and everything stays a function of (seed, step): in training the next readable example of
the split replaces it; in evaluation its row is masked, so that no other example counts twice.
"""

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from xception_jax.data.images import CorruptImage
from xception_jax.data.splits import Label, Split
from xception_jax.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

Transform = Callable[["Image.Image", int], np.ndarray]


class CorruptImages:
    """Thread-safe record of the images that cannot be decoded, with the policy for them."""

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._names: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images recorded so far, sorted: paths, or splits and indices."""
        with self._lock:
            return tuple(sorted(self._names))

    def report(self, error: CorruptImage) -> None:
        """Records an image that cannot be decoded.

        Raises:
            InputError: the policy is `stop`.
        """
        with self._lock:
            self._names.add(error.name)
        if self._policy == "stop":
            reason = f"{error}; data.corrupt_images=skip goes on without such images"
            raise InputError("data.corrupt_images", self._policy, reason) from error


def read_examples(
    split: Split, indices: np.ndarray, transform: Transform, corrupt: CorruptImages
) -> Iterator[tuple[np.ndarray, Label] | None]:
    """Yields the transformed pixels and the label of each example, or None if it is skipped.

    Args:
        split: the split to read from.
        indices: indices of the examples, integer [n].
        transform: function of an image and its row, 0…n-1, that returns pixels.
        corrupt: recorder of images that cannot be decoded.

    Raises:
        InputError: an image cannot be decoded and the policy is `stop`, or a label is invalid.
    """
    for example in split.read_many(indices, transform):
        if isinstance(example, CorruptImage):
            corrupt.report(example)
            yield None
        else:
            yield example


def read_examples_or_next(
    split: Split, indices: np.ndarray, transform: Transform, corrupt: CorruptImages
) -> Iterator[tuple[np.ndarray, Label]]:
    """Like `read_examples`, but replaces a skipped example by the next readable one.

    Raises:
        InputError: as for `read_examples`, or no example of the split can be decoded.
    """
    for row, example in enumerate(read_examples(split, indices, transform, corrupt)):
        if example is not None:
            yield example
        else:
            yield _read_next(split, int(indices[row]), row, transform, corrupt)


def _read_next(
    split: Split, index: int, row: int, transform: Transform, corrupt: CorruptImages
) -> tuple[np.ndarray, Label]:
    """Reads the first readable example after `index`, wrapping around, as a stand-in for `row`."""
    for offset in range(1, len(split)):
        candidate = np.array([(index + offset) % len(split)])
        (example,) = read_examples(
            split, candidate, lambda image, _: transform(image, row), corrupt
        )
        if example is not None:
            return example
    reason = f"none of the {len(split)} training images can be decoded, such as {split.name(0)}"
    raise InputError("data.name", None, reason)


def require_readable(name: str, split: str, readable: int) -> None:
    """Raises `InputError` for a split without a readable image: metrics of none are no numbers.

    Args:
        name: name of the data set.
        split: "train", "valid" or "test".
        readable: number of its images that could be decoded.
    """
    if not readable:
        reason = f"its {split} split has no image that can be decoded, so that it has no metrics"
        raise InputError("data.name", name, reason)
