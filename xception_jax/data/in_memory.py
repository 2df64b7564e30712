"""The pipeline for data that fits into memory: uint8 arrays, and per step only indices.

After the start only row indices leave the host. Gathering and augmentation run inside the compiled
step (`gather`, `augment`), which is much faster than a loader that delivers images.
"""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from xception_jax.cores import usable_cores
from xception_jax.data.fingerprint import DataFingerprint, fingerprint_pixels
from xception_jax.data.images import central_crop
from xception_jax.data.pipeline import Batch, DatasetInfo, Loading
from xception_jax.data.reading import CorruptImages, Transform, read_examples, read_examples_or_next
from xception_jax.data.splits import Source, Split
from xception_jax.errors import require_choice

if TYPE_CHECKING:
    from PIL import Image

_CHUNK = 512
_SMALLEST = 32


@dataclass(frozen=True)
class Decoded:
    """A data set decoded to arrays, which the runs of a sweep share.

    Attributes:
        source: the data set.
        device_data: the arrays of each split, see `pipeline.Pipeline`.
        readable: for each split, whether each row could be decoded, bool [n].
        corrupt: the images that could not be decoded.
    """

    source: Source
    device_data: dict[str, Batch]
    readable: dict[str, np.ndarray]
    corrupt: CorruptImages

    @cached_property
    def fingerprint(self) -> DataFingerprint:
        """Digests of what was decoded."""
        return fingerprint_pixels(self.source, self.device_data, self.readable)


def decode(source: Source, image_size: int, *, corrupt_images: str, threads: int) -> Decoded:
    """Decodes every image of every split.

    Args:
        source: the data set to decode.
        image_size: height and width of the result, pixels; other images are cropped and resized.
        corrupt_images: the value of data.corrupt_images.
        threads: largest number of decoding threads.

    Raises:
        InputError: an image cannot be decoded and the policy is `stop`.
    """
    decoded = Decoded(source, {}, {}, CorruptImages(corrupt_images))

    def to_pixels(image: "Image.Image", _: int) -> np.ndarray:
        return central_crop(image, image_size, 1.0)

    # Small images contend for Python's lock: more threads than cores make loading slower, and for
    # the smallest images even a second one does (14,000 images of 28 pixels: 1.4 s with one thread,
    # 2.1 s with two, n = 2 each, on two cores).
    useful_threads = 1 if image_size <= _SMALLEST else usable_cores()
    with ThreadPoolExecutor(min(threads, useful_threads)) as pool:
        for name, split in source.splits.items():
            images = np.zeros((len(split), image_size, image_size, source.channels), np.uint8)
            labels, readable = _decode_into(images, split, to_pixels, decoded.corrupt, pool)
            if name == "train":
                bad = np.flatnonzero(~readable)
                stand_ins = read_examples_or_next(split, bad, to_pixels, decoded.corrupt)
                for row, example in zip(bad, stand_ins, strict=True):
                    images[row], labels[row] = example
            decoded.device_data[name] = {"image": images, "label": labels}
            decoded.readable[name] = readable
    return decoded


def _decode_into(
    images: np.ndarray,
    split: Split,
    transform: Transform,
    corrupt: CorruptImages,
    pool: ThreadPoolExecutor,
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a split into `images`; returns its labels and which rows are readable, bool [n]."""
    labels, readable = split.empty_labels(len(split)), np.zeros(len(split), bool)

    def decode_chunk(first: int) -> None:
        rows = np.arange(first, min(first + _CHUNK, len(split)))
        examples = read_examples(split, rows, transform, corrupt)
        for index, example in zip(rows, examples, strict=True):
            if example is not None:
                images[index], labels[index] = example
                readable[index] = True

    # Results are read in order, so that the error raised is the first one in the split.
    for _ in pool.map(decode_chunk, range(0, len(split), _CHUNK)):
        pass
    return labels, readable


class InMemoryPipeline:
    """A `Pipeline` whose images lie on the device: its batches hold indices only."""

    def __init__(self, decoded: Decoded, info: DatasetInfo, loading: Loading) -> None:
        self.info, self.device_data = info, decoded.device_data
        self._decoded, self._loading = decoded, loading
        self._order = loading.train_order(info)

    @property
    def corrupt_images(self) -> tuple[str, ...]:
        """Names of the images that were skipped because they cannot be decoded."""
        return self._decoded.corrupt.names

    def train_batches(self, first_step: int) -> Iterator[Batch]:
        """Yields `index` int32 [local] into the train split, from `first_step` on, without end."""
        for step in itertools.count(first_step):
            yield {"index": self._order.examples(step)}

    def train_indices(self, step: int) -> np.ndarray:
        """Returns the indices of the examples in a step's batch, int32 [batch_size]."""
        return self._order.batch(step)

    def train_examples(self, step: int, count: int) -> Batch:
        """Returns `image` and `label` of the first `count` rows of a step's batch."""
        indices, arrays = self._order.batch(step)[:count], self.device_data["train"]
        return {name: values[indices] for name, values in arrays.items()}

    def fingerprint(self) -> DataFingerprint:
        """Returns digests of the pixels, labels and class names of every split."""
        return self._decoded.fingerprint

    def eval_batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Yields `index` int32 [local] and `mask` bool [local], every readable example once."""
        require_choice("split", split, self.device_data)
        readable = self._decoded.readable[split]
        for index, mask in self._loading.evaluation_rows(len(readable), batch_size):
            yield {"index": index, "mask": mask & readable[index]}

    def close(self) -> None:
        """Does nothing: no thread runs in the background."""
