"""`Source`, the type of every data set: splits whose examples can be read in any order.

Only the final evaluation may use the test split, so a data set's splits are assigned once, here:

* `test` is the set's labelled test split. If it has none (ImageNet), it is the validation split, as
  is customary; if it has neither, it is taken from the training examples.
* `valid` is the set's validation split, unless that became `test`; then it is taken from the
  training examples.

Examples are taken in a fixed pseudo-random order that depends on the number of examples alone, and
not on a run's seed, so that runs of all seeds are compared on the same images. With a `split_seed`
`valid` and the training examples vary with it. `test` never does: it is taken first, in the fixed
order, so that no seed trains on the test images of another. Of every class the same share is taken,
at least one example as long as one remains for training. Where labels are not known without reading
a large set (`Records.known_labels`), and for multi-label sets, the examples are a simple random
sample, with every class in about its proportion, as are `train_examples` of those that remain.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import numpy as np

from xception_jax.data.holding_out import hold_out
from xception_jax.data.images import CorruptImage, Encoded, decode_and
from xception_jax.data.order import permutation
from xception_jax.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

# A class index; for a multi-label set uint8 [num_classes] with a one for each class shown.
Label = int | np.ndarray
T = TypeVar("T")


@runtime_checkable
class Records(Protocol):
    """Encoded examples that can be read in any order and from many threads."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> list[tuple[Encoded, Label]]:
        """Reads the images, still encoded, and the labels."""

    def name(self, index: int) -> str:
        """Returns a name that identifies the example to a user: a path, or split and index."""

    def known_labels(self) -> np.ndarray | None:
        """Returns all labels, [n] or [n, num_classes]; None if that means reading a large set."""

    def file_facts(self) -> Iterator[tuple[str, int, bytes]]:
        """Yields name, size and some bytes of each file that holds the records."""


@dataclass(frozen=True)
class ArrayRecords:
    """Records that lie in arrays.

    Attributes:
        split: name of the split.
        images: uint8 [n, height, width, channels].
        labels: integer [n]; for a multi-label set uint8 [n, num_classes].
    """

    split: str
    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Sequence[int]) -> list[tuple[Encoded, Label]]:
        """Returns the pixels and the labels."""
        labels: list[Label] = [
            self.labels[index] if self.labels.ndim > 1 else int(self.labels[index])
            for index in indices
        ]
        return list(zip(self.images[list(indices)], labels, strict=True))

    def name(self, index: int) -> str:
        """Returns the split and index, such as `train[17]`."""
        return f"{self.split}[{index}]"

    def known_labels(self) -> np.ndarray:
        """Returns the labels."""
        return self.labels

    def file_facts(self) -> Iterator[tuple[str, int, bytes]]:
        """Yields the images and the labels, as if each were a file."""
        for name, array in (("images", self.images), ("labels", self.labels)):
            yield name, array.nbytes, np.ascontiguousarray(array).tobytes()


@dataclass(frozen=True)
class Split:
    """A selection of examples, in the order of `indices`.

    Attributes:
        records: the records to select from.
        indices: indices into `records`, int64 [n].
        channels: number of channels of the decoded images, 1 or 3.
        num_classes: number of classes; labels are below it.
        multi_label: whether a label is a set of classes instead of a single class.
        upright: whether images are turned as EXIF's Orientation says.
    """

    records: Records
    indices: np.ndarray
    channels: int
    num_classes: int
    multi_label: bool = False
    upright: bool = True

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """Returns a name that identifies example `index` to a user."""
        return self.records.name(int(self.indices[index]))

    def known_labels(self) -> np.ndarray | None:
        """Returns the labels, [n] or [n, num_classes], if the records know them without reading."""
        labels = self.records.known_labels()
        return None if labels is None else labels[self.indices]

    def empty_labels(self, count: int) -> np.ndarray:
        """Returns zeros for `count` labels: int32 [count] or uint8 [count, num_classes]."""
        if self.multi_label:
            return np.zeros((count, self.num_classes), np.uint8)
        return np.zeros(count, np.int32)

    def read_many(
        self, indices: Sequence[int] | np.ndarray, use: Callable[["Image.Image", int], T]
    ) -> Iterator[tuple[T, Label] | CorruptImage]:
        """Reads the examples `indices`; one that cannot be decoded is yielded as its error.

        Args:
            indices: indices of the examples, integer [n].
            use: function of an image, which it should not keep, and its row, 0…n-1.

        Yields:
            what `use` returns, and the label.

        Raises:
            InputError: a label is not one of the classes.
        """
        encoded = self.records.read(self.indices[np.asarray(indices, np.int64)].tolist())
        for row, (index, (content, label)) in enumerate(zip(indices, encoded, strict=True)):
            name = self.name(int(index))
            self._check_label(label, name)

            def use_in_row(image: "Image.Image", row: int = row) -> T:
                return use(image, row)

            try:
                used = decode_and(use_in_row, content, self.channels, name, upright=self.upright)
                yield used, label
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
            count = self.num_classes
            expected = f"{count} zeros and ones" if self.multi_label else f"one of 0…{count - 1}"
            reason = f"has an example, {name}, whose label is not {expected}: {label}"
            raise InputError("data.name", None, reason)


@dataclass(frozen=True)
class Source:
    """A data set, opened for reading.

    Attributes:
        name: name of the data set.
        class_names: names of the classes, in label order.
        channels: number of channels of the decoded images, 1 or 3.
        splits: the splits "train", "valid" and "test".
        class_frequencies: share of images that show each class, see `pipeline.DatasetInfo`.
        notes: what people should know of the data set, a sentence each.
        drawn: names of the splits that a split seed draws from the training examples; empty
            without one.
        licence: licence of the images, as far as it is known.
    """

    name: str
    class_names: tuple[str, ...]
    channels: int
    splits: Mapping[str, Split]
    class_frequencies: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    licence: str | None = None


def assign_splits(
    name: str,
    class_names: tuple[str, ...],
    channels: int,
    parts: Mapping[str, Records],
    *,
    validation_fraction: float,
    split_seed: int | None = None,
    train_examples: int | None,
    class_frequencies: tuple[float, ...] | None = None,
    upright: bool = True,
    notes: tuple[str, ...] = (),
    licence: str | None = None,
) -> Source:
    """Makes a `Source` from a data set's labelled parts, by the rules in the module's docstring.

    Args:
        name: name of the data set.
        class_names: names of the classes, in label order.
        channels: number of channels of the decoded images, 1 or 3.
        parts: records of "train" and, if the set has them, of "validation" and "test".
        validation_fraction: share of the training examples to take for each missing split.
        split_seed: seed by which the validation and training examples are drawn; None: as always.
        train_examples: number of the remaining training examples to use; None uses all.
        class_frequencies: for a multi-label set, see `pipeline.DatasetInfo`.
        upright: whether images are turned as EXIF's Orientation says.
        notes: what people should know of the data set, a sentence each.
        licence: licence of the images; None: it is not known.

    Raises:
        InputError: there are too few examples for the splits, or for `train_examples`; or nothing
            is drawn, and there is a seed for that.
    """
    train = parts["train"]
    test, valid = parts.get("test"), parts.get("validation")
    if test is None:
        test, valid = valid, None
    held_out = {"test": test, "valid": valid}
    missing = [split_name for split_name, records in held_out.items() if records is None]
    if split_seed is not None and not missing and train_examples is None:
        reason = f"has no effect, since {name} has a validation and a test split and all is used"
        raise InputError("data.split_seed", "seed", reason, "fixed")
    multi_label = class_frequencies is not None
    labels = train.known_labels() if missing else None
    if labels is not None and labels.ndim > 1:  # sets of classes, also where they should be one
        labels = None
    of_splits = hold_out(len(train), labels, validation_fraction, missing, split_seed)
    if not all(map(len, of_splits.values())):
        raise InputError("data.name", name, f"{len(train)} training examples are too few to split")
    rest = of_splits.pop("train")
    if train_examples is not None and train_examples > len(rest):
        reason = f"more than the {len(rest)} training examples of {name}"
        raise InputError("data.train_examples", train_examples, reason, len(rest))
    if train_examples is not None and labels is not None:
        # Of each class the first were held out: what the order begins with is no sample any more.
        rest = rest[permutation(split_seed or 0, "splits", 2, len(rest))]

    def split(records: Records, indices: np.ndarray) -> Split:
        return Split(records, indices, channels, len(class_names), multi_label, upright)

    splits = {"train": split(train, rest[:train_examples])}
    for split_name, indices in of_splits.items():
        splits[split_name] = split(train, np.sort(indices))
    for split_name, records in held_out.items():
        if records is not None:
            splits[split_name] = split(records, np.arange(len(records)))
            if len(records) == 0:
                stored = "test" if split_name in parts else "validation"
                raise InputError("data.name", name, f"its {stored} split is empty")
    by_seed = ("train", *(split_name for split_name in missing if split_name != "test"))
    drawn = by_seed if split_seed is not None else ()
    return Source(name, class_names, channels, splits, class_frequencies, notes, drawn, licence)
