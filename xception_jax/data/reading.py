"""Reading examples of a split as pixels, and what happens to those that cannot be decoded.

With `stop`, the first image that cannot be decoded ends the run. With `skip`, it is named and
counted, and everything stays a function of (seed, step): in training the next readable example of
the split stands in for it; in evaluation its row is masked, so that no other example counts twice.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from xception_jax.data.images import CorruptImage
from xception_jax.data.splits import Label, Split
from xception_jax.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

Transform = Callable[["Image.Image", int], np.ndarray]


class CorruptImages:
    """The images that could not be decoded so far, and the policy about them; for many threads."""

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._names: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """Paths, or splits and indices, sorted; each once."""
        with self._lock:
            return tuple(sorted(self._names))

    def report(self, error: CorruptImage) -> None:
        """Takes note of an image that cannot be decoded.

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
    """The transformed pixels and the label of each example, or None for one that is skipped.

    Args:
        split: where to read.
        indices: of the examples, integer [n].
        transform: takes an image and its row, 0…n-1, and returns pixels.
        corrupt: is told of images that cannot be decoded.

    Raises:
        InputError: an image cannot be decoded and the policy is `stop`, or a label is wrong.
    """
    for row, example in enumerate(split.read_many(indices)):
        if isinstance(example, CorruptImage):
            corrupt.report(example)
            yield None
        else:
            image, label = example
            yield transform(image, row), label


def read_examples_or_next(
    split: Split, indices: np.ndarray, transform: Transform, corrupt: CorruptImages
) -> Iterator[tuple[np.ndarray, Label]]:
    """Like `read_examples`, but the next readable example stands in for one that is skipped.

    Raises:
        InputError: as `read_examples`, or no example of the split can be decoded.
    """
    for row, example in enumerate(read_examples(split, indices, transform, corrupt)):
        if example is not None:
            yield example
        else:
            yield _next_readable(
                split, int(indices[row]), partial(_at_row, transform, row), corrupt
            )


def _at_row(transform: Transform, row: int, image: "Image.Image", _: int) -> np.ndarray:
    return transform(image, row)


def _next_readable(
    split: Split, index: int, transform: Transform, corrupt: CorruptImages
) -> tuple[np.ndarray, Label]:
    for offset in range(1, len(split)):
        stand_in = np.array([(index + offset) % len(split)])
        (example,) = read_examples(split, stand_in, transform, corrupt)
        if example is not None:
            return example
    reason = f"none of the {len(split)} training images can be decoded, such as {split.name(0)}"
    raise InputError("data.name", None, reason)
