"""Importing CIFAR-10 and CIFAR-100, from their binary or their Python version."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from xception_jax.data.importing.archives import FIELD, members, readable
from xception_jax.data.importing.pickled import read_pickle
from xception_jax.data.importing.published import Report, check
from xception_jax.errors import InputError
from xception_jax.regular_files import read_regular

_SHAPE = (3, 32, 32)
_PIXELS = 3072
_MOST_NAMES, _LONGEST_NAME = 1000, 300
Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Layout:
    """One version of a set.

    Attributes:
        archive: name of the published archive.
        folder: folder that it unpacks to.
        splits: the files of each split, in order.
        names: the file that names the classes.
        label: place of the label: among the bytes before an image, or a key.
        classes: key of the class names; empty where the file is text.
    """

    archive: str
    folder: str
    splits: Mapping[str, tuple[str, ...]]
    names: str
    label: int | str
    classes: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """All files of this version."""
        return (self.names, *(file for files in self.splits.values() for file in files))


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_LAYOUTS: dict[str, tuple[_Layout, _Layout]] = {
    "cifar10": (
        _Layout(
            "cifar-10-binary.tar.gz",
            "cifar-10-batches-bin",
            {"train": tuple(f"{name}.bin" for name in _BATCHES), "test": ("test_batch.bin",)},
            "batches.meta.txt",
            0,
        ),
        _Layout(
            "cifar-10-python.tar.gz",
            "cifar-10-batches-py",
            {"train": _BATCHES, "test": ("test_batch",)},
            "batches.meta",
            "labels",
            "label_names",
        ),
    ),
    "cifar100": (
        _Layout(
            "cifar-100-binary.tar.gz",
            "cifar-100-binary",
            {"train": ("train.bin",), "test": ("test.bin",)},
            "fine_label_names.txt",
            1,  # the coarse label comes first
        ),
        _Layout(
            "cifar-100-python.tar.gz",
            "cifar-100-python",
            {"train": ("train",), "test": ("test",)},
            "meta",
            "fine_labels",
            "fine_label_names",
        ),
    ),
}


def read_cifar(
    name: str, path: Path, report: Report, note: Report
) -> tuple[tuple[str, ...], dict[str, Arrays]]:
    """Reads CIFAR-10 or CIFAR-100 (with its 100 fine labels).

    Args:
        name: `cifar10` or `cifar100`.
        path: the published archive, the folder that it unpacks to, or a folder that holds either.
        report: gets the progress, as text.
        note: gets a sentence that people should read.

    Returns:
        The class names, and of "train" and "test" the images, uint8 [n, 32, 32, 3], and the
        labels, int64 [n].

    Raises:
        InputError: files are missing or damaged.
    """
    layout, contents = _find(name, path, report, note)
    names = _class_names(layout, contents[layout.names], path)
    splits = {}
    for split, files in layout.splits.items():
        parts = []
        for file in files:
            report(f"{file}: {len(contents[file]):,} bytes")
            parts.append(_read_batch(layout, file, contents[file], path))
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        if not len(labels) or labels.min() < 0 or labels.max() >= len(names):
            reason = f"the {split} labels are not all from 0 to {len(names) - 1}, or there are none"
            raise InputError(FIELD, str(path), reason)
        splits[split] = (images.reshape(-1, *_SHAPE).transpose(0, 2, 3, 1), labels)
    return names, splits


def _find(name: str, path: Path, report: Report, note: Report) -> tuple[_Layout, dict[str, bytes]]:
    """Finds a version of the set, and reads its files."""
    layouts = _LAYOUTS[name]
    known = {file for layout in layouts for file in layout.files}
    incomplete: tuple[_Layout, dict[str, bytes]] | None = None
    for place in _places(layouts, path):
        if place.is_dir():
            here = [file for file in known if (place / file).is_file()]
            with readable(place):
                contents = {file: read_regular(place / file) for file in here}
        else:
            check(name, place, report, note)
            contents = {
                base: member.read()
                for member in members(place)
                if (base := PurePosixPath(member.name).name) in known
            }
        for layout in layouts:
            if contents.keys() >= set(layout.files):
                return layout, contents
            if contents.keys() & set(layout.files) and incomplete is None:
                incomplete = layout, contents
    if incomplete is not None:
        layout, contents = incomplete
        missing = next(file for file in layout.files if file not in contents)
        raise InputError(FIELD, str(path), f"holds no {missing}, which belongs to {layout.folder}")
    choices = [choice for layout in layouts for choice in (layout.archive, layout.folder)]
    raise InputError(FIELD, str(path), f"holds none of {', '.join(choices)}")


def _places(layouts: tuple[_Layout, ...], path: Path) -> list[Path]:
    """Where the files of a set may be, the likeliest first."""
    if path.is_file():
        return [path]
    places = [path, *(path / layout.folder for layout in layouts)]
    for layout in layouts:
        stem = layout.archive.removesuffix(".tar.gz")
        places += [path / f"{stem}{ending}" for ending in (".tar.gz", ".tgz", ".tar", ".zip")]
    return [place for place in places if place.exists()]


def _class_names(layout: _Layout, content: bytes, path: Path) -> tuple[str, ...]:
    with readable(path / layout.names):
        if layout.classes:
            listed = _list_of((str, bytes), _value(read_pickle(content), layout.classes))
        else:
            listed = [line for line in content.decode().splitlines() if line.strip()]
        # A pickle of a megabyte can hold a million references to one text.
        if len(listed) > _MOST_NAMES or any(len(name) > _LONGEST_NAME for name in listed):
            raise ValueError("its class names are too many or too long")
        texts = (name.decode() if isinstance(name, bytes) else name for name in listed)
        names = tuple(text.strip() for text in texts)
        for name in names:  # TFDS keeps them as the lines of a file
            name.encode()  # an error for half of a character, which a pickle can hold
            if len(name.splitlines()) != 1:
                raise ValueError("a class name is empty or has several lines")
            if names.count(name) > 1:
                raise ValueError(f"it names the class {name!r} twice")
        return names


def _read_batch(layout: _Layout, file: str, content: bytes, path: Path) -> Arrays:
    """Reads one file: images uint8 [n, 3072] and labels int64 [n]."""
    with readable(path / file):
        if isinstance(layout.label, int):
            bytes_each = layout.label + 1 + _PIXELS
            if len(content) % bytes_each:
                raise ValueError(f"{len(content)} bytes are no multiple of {bytes_each}")
            rows = np.frombuffer(content, np.uint8).reshape(-1, bytes_each)
            return rows[:, layout.label + 1 :], rows[:, layout.label].astype(np.int64)
        batch = read_pickle(content)
        images, labels = _value(batch, "data"), _value(batch, layout.label)
        labels = np.array(labels if isinstance(labels, np.ndarray) else _list_of(int, labels))
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError("its labels are no list of whole numbers")
        expected = (len(labels), _PIXELS)
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            raise ValueError("its data are no array of bytes")
        if images.shape != expected:
            raise ValueError(f"its data have the shape {images.shape} instead of {expected}")
        return images, labels.astype(np.int64)


def _list_of(kind: type | tuple[type, ...], values: Any) -> list[Any]:
    """The list, whose elements are known not to be lists again: these could grow without end."""
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise ValueError("its list of labels or names holds lists instead of numbers or text")
    return values


def _value(content: dict[str, Any], key: str) -> Any:
    if key not in content:
        raise ValueError(f"has no {key}; it has {', '.join(map(repr, content))}")
    return content[key]
