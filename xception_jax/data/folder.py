"""Reading an image folder as a data set: `train/<class>/*.jpg`, likewise `validation`, `test`."""

import errno
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xception_jax.data.images import Encoded
from xception_jax.data.locations import expanded, is_folder, reachable
from xception_jax.data.splits import Label, Records
from xception_jax.errors import InputError, nearest_name

_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
# Folders and files that operating systems and their disks leave beside one's own.
_SYSTEM = (
    *("__MACOSX", "Network Trash Folder", "Temporary Items"),
    *("$RECYCLE.BIN", "RECYCLER", "System Volume Information"),
    *("Thumbs.db", "desktop.ini"),
    *("lost+found", "@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot"),
)
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_SHORT_SUFFIX = re.compile(r"\.\w{1,8}", re.ASCII)
_MOST_SUFFIXES = 4  # that a note names


@dataclass(frozen=True)
class FolderRecords:
    """Records that lie in image files: the path and the label of each."""

    paths: list[str]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Sequence[int]) -> list[tuple[Encoded, Label]]:
        """Returns the paths, to be opened when they are decoded, and the labels."""
        return [(Path(self.paths[index]), self.labels[index]) for index in indices]

    def name(self, index: int) -> str:
        """Returns the path of the file."""
        return self.paths[index]

    def known_labels(self) -> np.ndarray:
        """Returns the labels, from the folders that the files lie in."""
        return np.array(self.labels, np.int32)

    def file_facts(self) -> Iterator[tuple[str, int, bytes]]:
        """Yields the name and size of each file; none is opened."""
        for path in self.paths:
            yield os.path.basename(path), _size(path), b""  # noqa: PTH119 - see `_size`


@dataclass
class _Unread:
    """The files of a split that are not read.

    Attributes:
        nested: number of those that lie in a folder in the folder of a class.
        suffixes: number of those that lie in the folder of a class, by the ending of their names.
    """

    nested: int = 0
    suffixes: Counter[str] = field(default_factory=Counter)

    def note(self, split: str) -> str | None:
        """A sentence that counts them; None where there are none."""
        counts = [f"{self.nested:,} in subfolders of classes"] if self.nested else []
        if self.suffixes:
            common = sorted(self.suffixes, key=lambda suffix: (-self.suffixes[suffix], suffix))
            named = ", ".join(common[:_MOST_SUFFIXES])
            counts.append(f"{self.suffixes.total():,} with other suffixes ({named})")
        return f"files of {split} that are not read: {' and '.join(counts)}" if counts else None


def read_folder(
    directory: str | None,
) -> tuple[tuple[str, ...], dict[str, Records], tuple[str, ...]]:
    """Reads which classes and images an image folder holds.

    Files are ordered by class and name, whatever the order of the file system.

    Returns:
        The class names, sorted, the records of each split in the folder, and a sentence for each
        split with files that are not read.

    Raises:
        InputError: the folder or its `train` does not exist or cannot be read, a class has no
            training images, or another split has a class that `train` lacks.
    """
    if directory is None:
        raise InputError("data.directory", None, "data.name=folder needs the folder's path")
    root = expanded("data.directory", directory)
    with reachable("data.directory", directory):
        return _read(root, directory)


def _read(
    root: Path, directory: str
) -> tuple[tuple[str, ...], dict[str, Records], tuple[str, ...]]:
    if not is_folder(root):
        similar = nearest_name(root.name, _folders(root.parent)) if is_folder(root.parent) else None
        nearest = None if similar is None else str(root.parent / similar)
        reason = "is no folder, but a file" if root.exists() else "no such folder"
        raise InputError("data.directory", directory, reason, nearest)
    if not is_folder(root / "train"):
        reason = "has no folder named train (expected train/<class>/*.jpg)"
        raise InputError("data.directory", directory, reason)
    class_names = tuple(_folders(root / "train"))
    if len(class_names) < 2:
        reason = f"train holds {len(class_names)} folders, one per class; at least two are needed"
        raise InputError("data.directory", directory, reason)
    parts: dict[str, Records] = {}
    notes = []
    for split, names in _SPLITS.items():
        present = [name for name in names if is_folder(root / name)]
        if len(present) > 1:
            reason = f"holds {' and '.join(present)}, which mean the same"
            raise InputError("data.directory", directory, reason)
        if present:
            unread = _Unread()
            parts[split] = _read_split(root / present[0], class_names, unread)
            notes.append(unread.note(present[0]))
    return class_names, parts, tuple(filter(None, notes))


def _read_split(root: Path, class_names: tuple[str, ...], unread: _Unread) -> FolderRecords:
    paths: list[str] = []
    labels: list[int] = []
    for name in _folders(root):
        if name not in class_names:
            reason = "is a class that train does not have"
            nearest = None
            if (twin := twin_in_unicode(name, class_names)) is None:
                nearest = nearest_name(name, class_names)
            else:
                reason += f": {unlike_twins(name, twin)}"
            raise InputError("data.directory", str(root / name), reason, nearest)
        files = _images(root / name, unread)
        if not files and root.name == "train":
            raise InputError("data.directory", str(root / name), "holds no images")
        paths += files
        labels += [class_names.index(name)] * len(files)
    return FolderRecords(paths, labels)


def _images(folder: Path, unread: _Unread) -> list[str]:
    """The sorted paths of the images in the folder of a class; what else is there is counted."""
    paths = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_image(entry.name):
                paths.append(entry.path)
            elif is_hidden([entry.name]):
                continue
            elif _leads_to_folder(entry):
                for _, folders, files in os.walk(entry.path):
                    folders[:] = [name for name in folders if not is_hidden([name])]
                    unread.nested += sum(not is_hidden([name]) for name in files)
            else:
                suffix = Path(entry.name).suffix.lower()
                unread.suffixes[suffix if _SHORT_SUFFIX.fullmatch(suffix) else "none"] += 1
    return sorted(paths)


def is_image(name: str) -> bool:
    """Whether a file is an image, by its name; systems leave hidden files such as `._a.jpg`."""
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def twin_in_unicode(name: str, choices: Iterable[str]) -> str | None:
    """The choice that differs from a name in Unicode's normalization alone, as macOS changes it."""
    form = unicodedata.normalize("NFC", name)
    same = (choice for choice in choices if unicodedata.normalize("NFC", choice) == form)
    return next(same, None)


def unlike_twins(name: str, twin: str) -> str:
    """What to do about two names that cannot be told apart by sight."""
    differ = "look the same and differ in their Unicode normalization; rename one of them"
    return f"{name!a} and {twin!a} {differ}"


def is_hidden(parts: Iterable[str]) -> bool:
    """Whether a path, given by its parts, is hidden or lies in a folder that systems leave."""
    return any(part.startswith(".") or part in _SYSTEM for part in parts)


def _size(path: str) -> int:
    """The size of a file, bytes; -1 for one that is gone, which reading it will say."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - of 100,000 files, `Path` takes twice as long
    except OSError:
        return -1


def _folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if not is_hidden([e.name]) and _leads_to_folder(e))


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link that loops leads nowhere."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise
