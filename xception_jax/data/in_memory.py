"""The pipeline for data that fits into memory: one uint8 array, and per step only indices.

Nothing but row numbers leaves the host after the start. Gathering and augmentation happen inside
the compiled step (`gather`, `augment`), which is much faster than a loader that hands out images.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xception_jax.data.images import central_crop
from xception_jax.data.order import TrainOrder, evaluation_rows
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
    """A data set as arrays; seeds of a sweep share one.

    Attributes:
        device_data: see `pipeline.Pipeline`.
        readable: for each split which rows could be decoded, bool [n].
        corrupt: the images that could not.
    """

    device_data: dict[str, Batch]
    readable: dict[str, np.ndarray]
    corrupt: CorruptImages


def decode(source: Source, image_size: int, *, corrupt_images: str, threads: int) -> Decoded:
    """Decodes every image of every split.

    Args:
        source: of the images.
        image_size: height and width of the result, pixels; other images are cut and resized.
        corrupt_images: the value of data.corrupt_images.
        threads: at most so many decode.

    Raises:
        InputError: an image cannot be decoded and the policy is `stop`.
    """
    decoded = Decoded({}, {}, CorruptImages(corrupt_images))

    def whole(image: "Image.Image", _: int) -> np.ndarray:
        return central_crop(image, image_size, 1.0)

    # Small images keep Python's lock busy: more threads than cores make loading slower, and the
    # smallest are slower with any second one (14,000 of 28 pixels: 1.4 s with one thread and 2.1 s
    # with two, n = 2 each, on two cores).
    most = 1 if image_size <= _SMALLEST else os.cpu_count() or 1
    with ThreadPoolExecutor(min(threads, most)) as pool:
        for name, split in source.splits.items():
            images = np.zeros((len(split), image_size, image_size, source.channels), np.uint8)
            labels, readable = _decode_into(images, split, whole, decoded.corrupt, pool)
            if name == "train":
                bad = np.flatnonzero(~readable)
                stand_ins = read_examples_or_next(split, bad, whole, decoded.corrupt)
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
    """Fills `images`; returns the labels [n] and which rows could be decoded, bool [n]."""
    labels, readable = split.empty_labels(len(split)), np.zeros(len(split), bool)

    def decode_chunk(first: int) -> None:
        rows = np.arange(first, min(first + _CHUNK, len(split)))
        examples = read_examples(split, rows, transform, corrupt)
        for index, example in zip(rows, examples, strict=True):
            if example is not None:
                images[index], labels[index] = example
                readable[index] = True

    # Results are asked for in order, so that the error raised is the first one in the split.
    for _ in pool.map(decode_chunk, range(0, len(split), _CHUNK)):
        pass
    return labels, readable


class InMemoryPipeline:
    """See `pipeline.Pipeline`, the contract."""

    def __init__(self, decoded: Decoded, info: DatasetInfo, loading: Loading) -> None:
        self.info, self.device_data = info, decoded.device_data
        self._decoded, self._loading = decoded, loading
        self._order = TrainOrder(
            info.examples["train"],
            batch_size=loading.batch_size,
            seed=loading.seed,
            host=loading.host,
            hosts=loading.hosts,
            parts=loading.parts,
        )

    @property
    def corrupt_images(self) -> tuple[str, ...]:
        """Names of the images that were skipped because they could not be decoded."""
        return self._decoded.corrupt.names

    def train_batches(self, first_step: int) -> Iterator[Batch]:
        """`index` int32 [local] into the train split, from `first_step` on, without end."""
        step = first_step
        while True:
            yield {"index": self._order.examples(step)}
            step += 1

    def train_indices(self, step: int) -> np.ndarray:
        """Of the examples of a step's batch, int32 [batch_size]."""
        return self._order.batch(step)

    def eval_batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """`index` int32 [local] and `mask` bool [local], every readable example once."""
        require_choice("split", split, self.device_data)
        readable = self._decoded.readable[split]
        loading = self._loading
        for index, mask in evaluation_rows(
            len(readable), batch_size=batch_size, host=loading.host, hosts=loading.hosts
        ):
            yield {"index": index, "mask": mask & readable[index]}

    def close(self) -> None:
        """Nothing runs in the background."""
