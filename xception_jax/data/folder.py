"""A folder of images as a data set: `train/<class>/*.jpg`, and `validation`, `test` alike."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xception_jax.data.images import Encoded
from xception_jax.data.splits import Label, Records
from xception_jax.errors import InputError, nearest_name

_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class FolderRecords:
    """Records of image files."""

    paths: list[str]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Sequence[int]) -> list[tuple[Encoded, Label]]:
        """The files, which are opened when they are decoded, and their labels."""
        return [(Path(self.paths[index]), self.labels[index]) for index in indices]

    def name(self, index: int) -> str:
        """The file's path."""
        return self.paths[index]


def read_folder(directory: str | None) -> tuple[tuple[str, ...], dict[str, Records]]:
    """The class names, sorted, and the records of each split there is.

    Files are ordered by class and name, whatever the order of the file system.

    Raises:
        InputError: no such folder, no `train` in it, a class without images, or a class that
            training images do not show.
    """
    if directory is None:
        raise InputError("data.directory", None, "data.name=folder needs the folder's path")
    root = Path(directory).expanduser()
    if not root.is_dir():
        near = nearest_name(root.name, _folders(root.parent)) if root.parent.is_dir() else None
        nearest = None if near is None else str(root.parent / near)
        raise InputError("data.directory", directory, "no such folder", nearest)
    if not (root / "train").is_dir():
        reason = "has no folder named train (expected train/<class>/*.jpg)"
        raise InputError("data.directory", directory, reason)
    class_names = tuple(_folders(root / "train"))
    if len(class_names) < 2:
        reason = f"train holds {len(class_names)} folders of images; a class each, at least two"
        raise InputError("data.directory", directory, reason)
    parts: dict[str, Records] = {}
    for split, names in _SPLITS.items():
        found = [root / name for name in names if (root / name).is_dir()]
        if len(found) > 1:
            both = " and ".join(path.name for path in found)
            raise InputError("data.directory", directory, f"holds {both}, which mean the same")
        if found:
            parts[split] = _read_split(found[0], class_names)
    return class_names, parts


def _read_split(root: Path, class_names: tuple[str, ...]) -> FolderRecords:
    paths: list[str] = []
    labels: list[int] = []
    for name in _folders(root):
        if name not in class_names:
            reason = "is a class that train does not have"
            near = nearest_name(name, class_names)
            raise InputError("data.directory", str(root / name), reason, near)
        with os.scandir(root / name) as entries:
            files = sorted(e.path for e in entries if e.name.lower().endswith(_SUFFIXES))
        if not files and root.name == "train":
            raise InputError("data.directory", str(root / name), "holds no images")
        paths += files
        labels += [class_names.index(name)] * len(files)
    return FolderRecords(paths, labels)


def _folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
