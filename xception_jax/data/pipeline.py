"""The contract of both pipelines: what training may rely on, wherever the images lie."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class DatasetInfo:
    """What a model and a training loop need to know of a data set.

    Attributes:
        name: the value of data.name.
        class_names: in the order of the labels.
        image_shape: (height, width, channels) as the model sees them.
        examples: how many each of "train", "valid" and "test" has.
        class_frequencies: of a multi-label set, whose labels are sets of classes, the share of
            training images that show each class; None: every image has one label. They are of the
            set's whole training part, so that runs on less of it are scored by the same measure.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    examples: Mapping[str, int]
    class_frequencies: tuple[float, ...] | None = None

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether a label is a set of classes: uint8 [num_classes] instead of an int32."""
        return self.class_frequencies is not None


@dataclass(frozen=True)
class Loading:
    """How a pipeline is to load, for this host.

    Attributes:
        augmentation: the value of data.augmentation.
        corrupt_images: the value of data.corrupt_images.
        threads: that decode.
        batch_size: training images a step, over all hosts.
        seed: of the run.
        host: this one's number, from 0.
        hosts: how many there are.
        parts: that training batches are computed in, each dealt out to the hosts by itself.
    """

    augmentation: str
    corrupt_images: str
    threads: int
    batch_size: int
    seed: int
    host: int
    hosts: int
    parts: int = 1


@runtime_checkable
class Pipeline(Protocol):
    """Batches of one data set, the same ones for the same seed from either pipeline.

    A global batch has `batch_size` rows; this host gets rows `host * local` up to
    `(host + 1) * local` with `local = batch_size / hosts`, in that order; of a training batch in
    parts, its rows of the first part, then those of the second, …. Wherever `label` is said to be
    int32 [rows], it is uint8 [rows, num_classes] for a multi-label set.

    Attributes:
        info: of the data set.
        device_data: in memory, "train", "valid" and "test", each with `image` uint8
            [n, height, width, channels] and `label` int32 [n]; streaming, empty.
    """

    info: DatasetInfo
    device_data: dict[str, Batch]

    @property
    def corrupt_images(self) -> tuple[str, ...]:
        """Names of the images skipped so far because they could not be decoded, each once."""

    def train_batches(self, first_step: int) -> Iterator[Batch]:
        """This host's rows of the global batches of `first_step`, `first_step + 1`, … without end.

        Yields:
            in memory, `index` int32 [local]; streaming, `image` uint8
            [local, height, width, channels] and `label` int32 [local].
        """

    def train_indices(self, step: int) -> np.ndarray:
        """Indices into the train split of a step's whole batch, int32 [batch_size].

        Streaming, one whose image cannot be decoded stands for the example read in its place.
        """

    def eval_batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """This host's rows of batches that hold every readable example of the split once.

        Args:
            split: "train", "valid" or "test".
            batch_size: images a step, over all hosts.

        Yields:
            `index` int32 [local] into the split and `mask` bool [local], False where the row is
            padding or a skipped image; streaming, also `image` and `label` as in training.

        Raises:
            InputError: `batch_size` does not divide by the number of hosts.
        """

    def close(self) -> None:
        """Stops what runs in the background; iterators are of no use after it."""
