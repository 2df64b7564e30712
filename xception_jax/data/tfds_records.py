"""Records of a data set that TFDS prepared; with `builders`, all that imports TFDS."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow_datasets.proto import tf_example_pb2

from xception_jax.data.images import Encoded
from xception_jax.data.record_sizes import require_no_growth
from xception_jax.data.splits import Label, Records
from xception_jax.errors import refused

# Reading the labels of 12,000 records takes 0.15 s, and those of ImageNet would take its 140 GB.
_MOST_LABELS_READ = 100_000
_END_BYTES = 2**16


@dataclass(frozen=True)
class TfdsRecords:
    """Records of a split that TFDS prepared.

    Attributes:
        set_name: name of the data set, as the user gave it.
        path: directory of the prepared data set.
        split: name of the split.
        source: TFDS data source of serialized examples.
        image: key of the image in an example.
        label: key of the label in an example.
    """

    set_name: str
    path: Path
    split: str
    source: Any
    image: str
    label: str

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Sequence[int]) -> list[tuple[Encoded, Label]]:
        """Reads the images, still encoded, and the labels.

        Raises:
            InputError: a file of the data set is missing or damaged.
        """
        # Examples are parsed here, because TFDS's feature decoders take several times as long; and
        # many at once, because array_record is slow at reading single records in random order.
        examples: list[tuple[Encoded, Label]] = []
        with damage_as_input_error(self.set_name, self.path):
            for record in self.source.__getitems__(list(indices)):
                feature = tf_example_pb2.Example.FromString(record).features.feature
                image = feature[self.image].bytes_list.value[0]
                examples.append((image, feature[self.label].int64_list.value[0]))
        return examples

    def name(self, index: int) -> str:
        """Returns the split and index, such as `train[17]`."""
        return f"{self.split}[{index}]"

    def require_no_growth(self) -> None:
        """Checks that the records of a set are about as large as its files.

        Files with too many records to look at each are not checked.

        Raises:
            InputError: they are far larger, or a file is damaged.
        """
        if len(self) <= _MOST_LABELS_READ:
            with damage_as_input_error(self.set_name, self.path):
                for file in self._files():
                    require_no_growth(file)

    def known_labels(self) -> np.ndarray | None:
        """Returns the labels of a set small enough to read them all, int64 [n]; else None."""
        return self._labels

    @cached_property
    def _labels(self) -> np.ndarray | None:
        if len(self) > _MOST_LABELS_READ:
            return None
        return np.array([label for _, label in self.read(range(len(self)))])

    def file_facts(self) -> Iterator[tuple[str, int, bytes]]:
        """Yields name, size, start and end of each file; the end locates the records in it."""
        for file in self._files():
            with file.open("rb") as content:
                start = content.read(_END_BYTES)
                size = content.seek(0, os.SEEK_END)
                content.seek(max(0, size - _END_BYTES))
                yield file.name, size, start + content.read()

    def _files(self) -> list[Path]:
        return sorted(self.path.glob(f"*-{self.split}.*"))


@dataclass(frozen=True)
class LabelledRecords:
    """The records of a split that have a label.

    Attributes:
        records: all records of the split.
        indices: indices of those with a label, int64 [n].
    """

    records: TfdsRecords
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Sequence[int]) -> list[tuple[Encoded, Label]]:
        """Reads the images, still encoded, and the labels; see `TfdsRecords.read`."""
        return self.records.read(self.indices[list(indices)].tolist())

    def name(self, index: int) -> str:
        """Returns the split and the index in the whole split, such as `train[17]`."""
        return self.records.name(int(self.indices[index]))

    def known_labels(self) -> np.ndarray | None:
        """Returns the labels, int64 [n]."""
        labels = self.records.known_labels()
        return None if labels is None else labels[self.indices]

    def file_facts(self) -> Iterator[tuple[str, int, bytes]]:
        """Yields the facts of the whole split's files; see `TfdsRecords.file_facts`."""
        return self.records.file_facts()


def labelled(records: TfdsRecords) -> Records:
    """Returns the records that have a label: TFDS writes -1 for a class that is not known.

    Of a split too large for its labels to be read, only the first is looked at: if it has none,
    none has.
    """
    if not len(records):
        return records
    labels = records.known_labels()
    if labels is None:
        known = int(records.read([0])[0][1]) >= 0
        return records if known else LabelledRecords(records, np.arange(0))
    if labels.min() >= 0:
        return records
    return LabelledRecords(records, np.flatnonzero(labels >= 0))


def damage_as_input_error(name: str, path: Path) -> contextlib.AbstractContextManager[None]:
    """Reports any error in reading the files of a prepared data set as damage."""
    reason = (
        f"the prepared set in {path} is damaged; move that directory away and run "
        f"`xception-jax data prepare {name}`"
    )
    return refused("data.name", name, reason)
