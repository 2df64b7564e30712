"""One type for every data set: splits of examples that can be read in any order.

Which split is which. The test split is what the final evaluation uses, and nothing else may look at
it, so a data set's splits are assigned once, here:

* `test` is the set's labelled test split; where it has none (ImageNet), its validation split, as is
  customary; where it has neither, a part of train.
* `valid` is the set's validation split, unless that became `test`; then it is a part of train.

The parts come out of train by a fixed pseudo-random order that depends on the number of examples
alone: not on a run's seed, so that runs of all seeds are compared on the same images. It is a
simple random sample, which holds every class in about its proportion. What remains for training
stays in that order, so that the first `train_examples` of it are a random sample too, even of a
set that lies sorted by class.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from xception_jax.data.images import CorruptImage, Encoded, decode
from xception_jax.data.order import permutation
from xception_jax.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

# A class, or for a multi-label set uint8 [num_classes] with a one for each class shown.
Label = int | np.ndarray


@runtime_checkable
class Records(Protocol):
    """Encoded examples, readable in any order and from many threads."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> list[tuple[Encoded, Label]]:
        """The images, not decoded, and the labels."""

    def name(self, index: int) -> str:
        """What a person can find the example by: a path, or the split and the index."""


@dataclass(frozen=True)
class ArrayRecords:
    """Records of arrays.

    Attributes:
        split: what the examples are named by.
        images: uint8 [n, height, width, channels].
        labels: integer [n], or of a multi-label set uint8 [n, num_classes].
    """

    split: str
    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Sequence[int]) -> list[tuple[Encoded, Label]]:
        """The pixels and the labels."""
        labels: list[Label] = [
            self.labels[index] if self.labels.ndim > 1 else int(self.labels[index])
            for index in indices
        ]
        return list(zip(self.images[list(indices)], labels, strict=True))

    def name(self, index: int) -> str:
        """For example `train[17]`."""
        return f"{self.split}[{index}]"


@dataclass(frozen=True)
class Split:
    """Some examples of `records`, in the order of `indices`.

    Attributes:
        records: where they are.
        indices: which of them, int64 [n].
        channels: 1 or 3, of the decoded images.
        num_classes: labels are below it.
        multi_label: whether a label is a set of classes instead of one.
    """

    records: Records
    indices: np.ndarray
    channels: int
    num_classes: int
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """What a person can find example `index` by."""
        return self.records.name(int(self.indices[index]))

    def empty_labels(self, count: int) -> np.ndarray:
        """Room for `count` labels: int32 [count], or uint8 [count, num_classes] of sets."""
        if self.multi_label:
            return np.zeros((count, self.num_classes), np.uint8)
        return np.zeros(count, np.int32)

    def read(self, index: int) -> tuple["Image.Image", Label]:
        """Example `index`: the image, mode L or RGB as `channels` says, and its label.

        Raises:
            CorruptImage: the image cannot be read or decoded.
            InputError: the label is none of the classes.
        """
        (example,) = self.read_many([index])
        if isinstance(example, CorruptImage):
            raise example
        return example

    def read_many(
        self, indices: Sequence[int] | np.ndarray
    ) -> Iterator[tuple["Image.Image", Label] | CorruptImage]:
        """Like `read` for each of `indices`, but what cannot be decoded is yielded as its error.

        Raises:
            InputError: a label is none of the classes.
        """
        encoded = self.records.read(self.indices[np.asarray(indices, np.int64)].tolist())
        for index, (content, label) in zip(indices, encoded, strict=True):
            name = self.name(int(index))
            self._check_label(label, name)
            try:
                yield decode(content, self.channels, name), label
            except CorruptImage as error:
                yield error

    def _check_label(self, label: Label, name: str) -> None:
        """Raises `InputError` unless `label` is a class, or for a multi-label set a set of them."""
        if isinstance(label, np.ndarray):
            fits = label.shape == (self.num_classes,) and label.max() <= 1
            valid = self.multi_label and label.dtype == np.uint8 and fits
        else:
            valid = not self.multi_label and 0 <= label < self.num_classes
        if not valid:
            a_set = f"{self.num_classes} zeros and ones"
            expected = a_set if self.multi_label else f"one of 0…{self.num_classes - 1}"
            reason = f"has an example, {name}, whose label is not {expected}: {label}"
            raise InputError("data.name", None, reason)


@dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        name: of the set.
        class_names: in the order of the labels.
        channels: of the decoded images, 1 or 3.
        splits: "train", "valid" and "test".
        class_frequencies: see `pipeline.DatasetInfo`.
    """

    name: str
    class_names: tuple[str, ...]
    channels: int
    splits: Mapping[str, Split]
    class_frequencies: tuple[float, ...] | None = None


def assign_splits(
    name: str,
    class_names: tuple[str, ...],
    channels: int,
    parts: Mapping[str, Records],
    *,
    validation_fraction: float,
    train_examples: int | None,
    class_frequencies: tuple[float, ...] | None = None,
) -> Source:
    """A `Source` from the set's own labelled parts; the module's docstring says by which rule.

    Args:
        name: of the data set.
        class_names: in the order of the labels.
        channels: of the decoded images, 1 or 3.
        parts: the records of "train" and, where the set has them, "validation" and "test".
        validation_fraction: share of train that each part carved from it gets.
        train_examples: use only the first so many of what is left for training; None: all.
        class_frequencies: of a multi-label set, see `pipeline.DatasetInfo`.

    Raises:
        InputError: too few examples for the splits, or for `train_examples`.
    """
    train = parts["train"]
    test, valid = parts.get("test"), parts.get("validation")
    if test is None:
        test, valid = valid, None
    carved = [split for split, own in (("test", test), ("valid", valid)) if own is None]
    share = max(1, round(validation_fraction * len(train)))
    order = permutation(0, "splits", 0, len(train))
    rest = order[share * len(carved) :]
    if len(rest) == 0:
        raise InputError("data.name", name, f"{len(train)} training examples are too few to split")
    if train_examples is not None and train_examples > len(rest):
        reason = f"more than the {len(rest)} training examples of {name}"
        raise InputError("data.train_examples", train_examples, reason, len(rest))

    def split(records: Records, indices: np.ndarray) -> Split:
        multi_label = class_frequencies is not None
        return Split(records, indices, channels, len(class_names), multi_label)

    chosen = {
        split_name: split(train, np.sort(order[share * at : share * (at + 1)]))
        for at, split_name in enumerate(carved)
    }
    for split_name, own in (("test", test), ("valid", valid)):
        if own is not None:
            chosen[split_name] = split(own, np.arange(len(own)))
            if len(own) == 0:
                raise InputError("data.name", name, f"its {split_name} split is empty")
    splits = {"train": split(train, rest[:train_examples]), **chosen}
    return Source(name, class_names, channels, splits, class_frequencies)
