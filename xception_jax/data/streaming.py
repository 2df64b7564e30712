"""The pipeline for data that does not fit into memory; the only module that imports Grain.

Each Grain element is this host's part of one batch: element `s` is the batch of step `s`, built by
one thread as one array. Starting at any step is therefore a slice, no position has to be saved or
replayed, and Grain's cost per element is paid once per batch (measured on 28x28 images that need no
decoding: 330,000 images/s, against 62,000 when Grain batches single images).

The workers are threads, not processes: Pillow releases Python's lock while it decodes, and
processes would outlive a parent that is killed.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import grain
import numpy as np

from xception_jax.cores import usable_cores
from xception_jax.data.augmentation import RANDOM_CROPS
from xception_jax.data.fingerprint import DataFingerprint
from xception_jax.data.images import CROP_DRAWS, central_crop, random_resized_crop
from xception_jax.data.order import uniforms
from xception_jax.data.pipeline import Batch, DatasetInfo, Loading
from xception_jax.data.reading import CorruptImages, read_examples, read_examples_or_next
from xception_jax.data.splits import Source, Split
from xception_jax.errors import require_choice

if TYPE_CHECKING:
    from PIL import Image

_ENDLESS = 2**40
# Customary for models trained on random-resized crops: the central 87.5% of the shorter side.
_EVALUATION_FRACTION = 0.875


class StreamingPipeline:
    """A `Pipeline` that reads and decodes images from disk as they are needed."""

    def __init__(
        self,
        source: Source,
        info: DatasetInfo,
        loading: Loading,
        fingerprint: Callable[[], DataFingerprint],
    ) -> None:
        self.info = info
        self.device_data: dict[str, Batch] = {}
        self._splits = source.splits
        self._fingerprint = fingerprint
        self._loading = loading
        self._corrupt = CorruptImages(loading.corrupt_images)
        self._order = loading.train_order(info)
        self._open: set[Any] = set()

    @property
    def corrupt_images(self) -> tuple[str, ...]:
        """Names of the images that were skipped so far because they cannot be decoded."""
        return self._corrupt.names

    def train_batches(self, first_step: int) -> Iterator[Batch]:
        """Yields `image` uint8 [local, h, w, c] and `label` int32 [local], without end."""
        return self._iterate(_LazySequence(self._train_batch, _ENDLESS), first_step)

    def train_indices(self, step: int) -> np.ndarray:
        """Returns the indices of the examples in a step's batch, int32 [batch_size]."""
        return self._order.batch(step)

    def train_examples(self, step: int, count: int) -> Batch:
        """Returns `image` and `label` of the first `count` rows of a step's batch."""
        indices = self._order.batch(step)[:count]
        return self._read_rows(indices, step * self._loading.batch_size + np.arange(len(indices)))

    def fingerprint(self) -> DataFingerprint:
        """Returns digests of the files, of known labels, and of some examples of every split."""
        return self._fingerprint()

    def eval_batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Yields `image`, `label`, `index` and `mask` [local], every readable example once."""
        require_choice("split", split, self._splits)
        rows = list(self._loading.evaluation_rows(len(self._splits[split]), batch_size))
        batches = _LazySequence(lambda number: self._eval_batch(split, *rows[number]), len(rows))
        return self._iterate(batches, 0)

    def close(self) -> None:
        """Stops the threads of every iterator that is still open."""
        while self._open:
            self._open.pop().close()

    def _iterate(self, batches: "_LazySequence", first: int) -> Iterator[Batch]:
        # Two for each core: while one decodes, the other may wait for the disk.
        threads = min(self._loading.threads, 2 * usable_cores())
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        iterator = iter(grain.MapDataset.source(batches)[first:].to_iter_dataset(options))
        self._open.add(iterator)
        try:
            with closing(iterator):
                yield from iterator
        finally:  # also where nobody takes the rest
            self._open.discard(iterator)

    def _train_batch(self, step: int) -> Batch:
        return self._read_rows(self._order.examples(step), self._order.positions(step))

    def _read_rows(self, indices: np.ndarray, positions: np.ndarray) -> Batch:
        """Reads training examples, each augmented by what its position in the run's rows draws."""
        split = self._splits["train"]
        batch = self._empty_batch(split, len(indices))
        transform = partial(self._train_pixels, positions=positions)
        examples = read_examples_or_next(split, indices, transform, self._corrupt)
        for row, example in enumerate(examples):
            batch["image"][row], batch["label"][row] = example
        return batch

    def _eval_batch(self, split_name: str, index: np.ndarray, mask: np.ndarray) -> Batch:
        split = self._splits[split_name]
        batch = self._empty_batch(split, len(index)) | {"index": index, "mask": mask.copy()}
        rows = np.flatnonzero(mask)
        examples = read_examples(split, index[rows], self._eval_pixels, self._corrupt)
        for row, example in zip(rows, examples, strict=True):
            if example is None:
                batch["mask"][row] = False
            else:
                batch["image"][row], batch["label"][row] = example
        return batch

    def _empty_batch(self, split: Split, rows: int) -> Batch:
        images = np.zeros((rows, *self.info.image_shape), np.uint8)
        return {"image": images, "label": split.empty_labels(rows)}

    def _train_pixels(self, image: "Image.Image", row: int, positions: np.ndarray) -> np.ndarray:
        if self._loading.augmentation != RANDOM_CROPS:
            return self._eval_pixels(image, row)
        draws = uniforms(self._loading.seed, "random_resized_crop", int(positions[row]), CROP_DRAWS)
        return random_resized_crop(image, self.info.image_shape[0], draws)

    def _eval_pixels(self, image: "Image.Image", _: int) -> np.ndarray:
        crops = self._loading.augmentation == RANDOM_CROPS
        fraction = _EVALUATION_FRACTION if crops else 1.0
        return central_crop(image, self.info.image_shape[0], fraction)


class _LazySequence:
    """A sequence for Grain whose elements are computed when they are read."""

    def __init__(self, element: Callable[[int], Batch], length: int) -> None:
        self._element, self._length = element, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> Batch:
        return self._element(number)
