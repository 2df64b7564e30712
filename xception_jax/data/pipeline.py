"""`Pipeline`, the interface of both pipelines, and the types that describe it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from xception_jax.data.fingerprint import DataFingerprint
from xception_jax.data.order import TrainOrder, evaluation_rows
from xception_jax.data.splits import Source
from xception_jax.records import DATA_SPLITS

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class DatasetInfo:
    """What a model and a training loop need to know about a data set.

    Attributes:
        name: the value of data.name.
        class_names: names of the classes, in label order.
        image_shape: (height, width, channels) of the images that the model receives.
        examples: number of examples in each of "train", "valid" and "test".
        class_frequencies: for a multi-label set, whose labels are sets of classes, the share of
            training images that show each class; None if every image has a single label. All
            training images of the set count, so that runs on fewer have the same metric.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    examples: Mapping[str, int]
    class_frequencies: tuple[float, ...] | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether a label is a set of classes: uint8 [num_classes] instead of an int32."""
        return self.class_frequencies is not None


def describe_source(source: Source, image_size: int) -> DatasetInfo:
    """The description of a data set whose images are given to a model in a size.

    Args:
        source: the data set.
        image_size: height and width of the images that the model receives.
    """
    shape = (image_size, image_size, source.channels)
    examples = {split: len(source.splits[split]) for split in DATA_SPLITS}
    return DatasetInfo(source.name, source.class_names, shape, examples, source.class_frequencies)


@dataclass(frozen=True)
class Loading:
    """Settings of a pipeline on one host.

    Attributes:
        augmentation: the value of data.augmentation.
        corrupt_images: the value of data.corrupt_images.
        threads: number of decoding threads.
        batch_size: number of training images per step, over all hosts.
        seed: the run's seed.
        host: index of this host, from 0.
        hosts: number of hosts.
        parts: number of parts that a training batch is computed in; the hosts share each part.
    """

    augmentation: str
    corrupt_images: str
    threads: int
    batch_size: int
    seed: int
    host: int
    hosts: int
    parts: int = 1

    def train_order(self, info: DatasetInfo) -> TrainOrder:
        """Returns the order in which this host reads its training examples."""
        return TrainOrder(
            info.examples["train"],
            batch_size=self.batch_size,
            seed=self.seed,
            host=self.host,
            hosts=self.hosts,
            parts=self.parts,
        )

    def evaluation_rows(
        self, examples: int, batch_size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields this host's rows of each evaluation batch, see `order.evaluation_rows`."""
        return evaluation_rows(examples, batch_size=batch_size, host=self.host, hosts=self.hosts)


@runtime_checkable
class Pipeline(Protocol):
    """A source of batches; for one seed, both implementations yield the same batches.

    A global batch has `batch_size` rows. This host gets rows `host * local` up to
    `(host + 1) * local` with `local = batch_size / hosts`, in that order. If a training batch has
    several parts, it gets its rows of the first part, then those of the second, …. Labels are
    int32 [rows]; for a multi-label set they are uint8 [rows, num_classes] instead.

    Attributes:
        info: description of the data set.
        device_data: for an in-memory pipeline, `image` uint8 [n, height, width, channels] and
            `label` int32 [n] of each of "train", "valid" and "test"; empty for a streaming one.
    """

    info: DatasetInfo
    device_data: dict[str, Batch]

    @property
    def corrupt_images(self) -> tuple[str, ...]:
        """Names of the images that were skipped so far because they cannot be decoded."""

    def train_batches(self, first_step: int) -> Iterator[Batch]:
        """Yields this host's rows of the global batches from `first_step` on, without end.

        Yields:
            `index` int32 [local] if in memory; `image` uint8 [local, height, width, channels] and
            `label` int32 [local] if streaming.
        """

    def train_indices(self, step: int) -> np.ndarray:
        """Returns the indices of the examples in a step's whole batch, int32 [batch_size].

        If an image cannot be decoded, its index stands for the example that replaces it.
        """

    def train_examples(self, step: int, count: int) -> Batch:
        """Returns the first `count` rows of a step's whole batch, as the devices get them.

        What the compiled step augments is not augmented.

        Returns:
            `image` uint8 [count, height, width, channels] and `label` int32 [count].
        """

    def fingerprint(self) -> DataFingerprint:
        """Returns digests of what was read; computed once for all runs on one data set."""

    def eval_batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Yields this host's rows of batches that hold every readable example of a split once.

        Args:
            split: "train", "valid" or "test".
            batch_size: number of images per step, over all hosts.

        Yields:
            `index` int32 [local] into the split, and `mask` bool [local], which is False for
            padding and skipped images; if streaming, also `image` and `label` as in training.

        Raises:
            InputError: `batch_size` does not divide by the number of hosts.
        """

    def close(self) -> None:
        """Stops all background threads, after which iterators can no longer be used."""
