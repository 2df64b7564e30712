"""Importing sets that are trees of image files: Imagenette, Tiny-ImageNet and ImageNet.

Every set has `train/<class>/…` and `val/…`, as folders or in an archive. Validation images lie in
folders of their classes too, or a list says their classes. Test images without a class are left
out. An archive is read once for its names, which must all be right before anything is stored, and
again for each split.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path, PurePosixPath

from xception_jax.data.folder import is_image, twin_in_unicode, unlike_twins
from xception_jax.data.importing.archives import FIELD, Member, members, members_of_tar
from xception_jax.data.importing.published import PUBLISHED, Report, check
from xception_jax.data.storing import StoredExample
from xception_jax.errors import InputError, nearest_name

_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_IMAGENET_TARS = {"ILSVRC2012_img_train.tar": "train", "ILSVRC2012_img_val.tar": "val"}
_ANNOTATIONS = "val_annotations.txt"  # of Tiny-ImageNet: file, class and box, separated by tabs
_STARTS = (b"\xff\xd8", b"\x89PNG")  # one image of ImageNet is a PNG


@dataclass(frozen=True)
class Tree:
    """The images of a set.

    Attributes:
        class_names: names of the classes, sorted.
        splits: for "train" and "validation" a function that reads the images.
        counts: number of images of each split.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, Callable[[], Iterator[StoredExample]]]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class _Place:
    """Where an image belongs.

    Attributes:
        split: "train", "validation" or "test".
        label: name of its class; None: a list says it.
        file: name of the file.
    """

    split: str
    label: str | None
    file: str


@dataclass
class _Content:
    """What the names in a tree say.

    Attributes:
        images: of each split, the number of images.
        places: the class (empty where a list says it) and file name of every image so far, of each
            split.
        classes: names of the classes with training images.
        labels: class of the images that lie in no folder of a class, by file name.
    """

    images: dict[str, int] = field(default_factory=dict)
    places: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)


def read_tree(name: str, path: Path, report: Report, note: Report) -> Tree:
    """Finds the images of a set.

    Args:
        name: `imagenette`, `tiny_imagenet` or `imagenet2012`.
        path: an archive of the set, its folder, or a folder that holds either.
        report: gets the progress, as text.
        note: gets a sentence that people should read.

    Returns:
        The sorted class names, and the images of "train" and "validation".

    Raises:
        InputError: there are no such images, an archive is damaged or not to be trusted, or an
            image has no class or one that has no training images.
    """
    roots = _roots(name, path)
    for root in roots:
        if root.is_file():
            check(name, root, report, note)
    content = _Content()
    if name == "imagenet2012":
        content.labels = _imagenet_labels()
    for root, prefix in roots.items():
        for member in _walk(root, prefix, opened=False):
            _add(content, member, path)
            total = sum(content.images.values())
            report(f"{total:,} images found")
    if len(content.classes) < 2 or not content.images.get("validation"):
        reason = "holds no train/<class>/ of two classes with images, and val/ beside it"
        raise InputError(FIELD, str(path), reason)
    names = tuple(sorted(content.classes))
    _require_classes(content, names, path)
    splits = {
        split: partial(_read, roots, split, names, content) for split in ("train", "validation")
    }
    return Tree(names, splits, content.images)


def _roots(name: str, path: Path) -> dict[Path, str]:
    """The archives or the folder to read, each with the path in the tree where it belongs."""
    if path.is_file():
        return {path: _IMAGENET_TARS.get(path.name, "")}
    archives = [path / file for file in PUBLISHED[name] if (path / file).is_file()]
    if name == "imagenet2012" and archives:
        return _imagenet_roots(path)
    if len(archives) > 1:
        files = ", ".join(archive.name for archive in archives)
        reason = f"holds several versions ({files}); name the file to import"
        raise InputError(FIELD, str(path), reason, str(archives[-1]))
    return {archive: "" for archive in archives} or {path: ""}


def _imagenet_roots(path: Path) -> dict[Path, str]:
    """As `_roots`, of a folder with at least one of ImageNet's archives: each, or what it holds."""
    roots = {}
    for file, prefix in _IMAGENET_TARS.items():
        # A folder is what somebody has unpacked, perhaps in part: the archive comes first.
        root = path / file if (path / file).is_file() else path / prefix
        if not root.exists():
            raise InputError(FIELD, str(path), f"holds no {file}")
        roots[root] = prefix
    return roots


def _walk(root: Path, prefix: str, *, opened: bool) -> Iterator[Member]:
    """The files of a root under their path in the tree; of a tar in a tar, the files in it.

    Args:
        root: folder or archive.
        prefix: path in the tree where it belongs.
        opened: whether only images are wanted, to be read.
    """
    for member in members(root):
        path = PurePosixPath(prefix, member.name)
        in_split = any(part in _SPLITS for part in path.parts[:-1])
        if path.suffix == ".tar" and in_split:  # ImageNet's train/n01440764.tar
            inner = members_of_tar(member.read(), f"{root}/{member.name}")
            for image in inner:
                yield Member(str(path.with_suffix("") / image.name), image.read)
        elif not opened or is_image(path.name):
            yield Member(str(path), member.read)


def _place(name: str) -> _Place | None:
    """Where a file belongs by its path, such as `x/train/<class>/images/1.JPEG`; None: nowhere."""
    parts = PurePosixPath(name).parts
    start = next((index for index, part in enumerate(parts) if part in _SPLITS), None)
    if start is None or not is_image(parts[-1]):
        return None
    folders = [part for part in parts[start + 1 : -1] if part != "images"]
    return _Place(_SPLITS[parts[start]], folders[0] if folders else None, parts[-1])


def _add(content: _Content, member: Member, path: Path) -> None:
    """Adds what a file's name says, or what stands in a list of classes."""
    if PurePosixPath(member.name).name == _ANNOTATIONS:
        lines = member.read().decode(errors="replace").splitlines()
        for line in lines:
            if line.count("\t"):
                file, label, *_ = line.split("\t")
                content.labels[file] = label
        return
    place = _place(member.name)
    if place is None or (place.split == "test" and place.label is None):
        return
    try:
        member.name.encode()
    except UnicodeEncodeError as error:  # TFDS keeps the names of classes and of images
        reason = f"holds {member.name!r}, a name that is not in UTF-8"
        raise InputError(FIELD, str(path), reason) from error
    # TFDS keeps the names of classes as lines, without the spaces around them.
    if place.label is not None and place.label.strip().splitlines() != [place.label]:
        reason = f"holds {member.name!r}, whose class has spaces around its name or several lines"
        raise InputError(FIELD, str(path), reason)
    key = (place.label or "", place.file)
    places = content.places.setdefault(place.split, set())
    if key in places:
        raise InputError(FIELD, str(path), f"holds {member.name} twice")
    places.add(key)
    content.images[place.split] = content.images.get(place.split, 0) + 1
    if place.split == "train":
        if place.label is None:
            reason = f"holds the training image {member.name}, which lies in no folder of a class"
            raise InputError(FIELD, str(path), reason)
        content.classes.add(place.label)


def _require_classes(content: _Content, names: tuple[str, ...], path: Path) -> None:
    """Raises `InputError` for a validation image without a class, or of none of `names`."""
    for label, file in sorted(content.places["validation"]):
        known = label or content.labels.get(file)
        if known is None:
            reason = f"holds the validation image {file}, of which nothing says the class"
            raise InputError(FIELD, str(path), reason)
        if known not in names:
            reason = f"holds {file} of the class {known!r}, which train does not have"
            if (twin := twin_in_unicode(known, names)) is None:
                raise InputError(FIELD, str(path), reason, nearest_name(known, names))
            raise InputError(FIELD, str(path), f"{reason}: {unlike_twins(known, twin)}")
        if not label and (known, file) in content.places["validation"]:
            reason = f"holds the validation image {file} of {known!r} twice"
            raise InputError(FIELD, str(path), reason)


def _read(
    roots: Mapping[Path, str],
    split: str,
    names: tuple[str, ...],
    content: _Content,
) -> Iterator[StoredExample]:
    """Reads the images of a split, as they are encoded."""
    numbers = {name: number for number, name in enumerate(names)}
    for root, prefix in roots.items():
        if prefix and _SPLITS[prefix] != split:
            continue
        for member in _walk(root, prefix, opened=True):
            place = _place(member.name)
            if place is None or place.split != split:
                continue
            image = member.read()
            if not image.startswith(_STARTS):
                raise InputError(FIELD, str(root), f"{member.name} is neither a JPEG nor a PNG")
            label = place.label or content.labels[place.file]
            yield f"{label}/{place.file}", io.BytesIO(image), numbers[label]


def _imagenet_labels() -> dict[str, str]:
    """The class of each validation image, from the list that TFDS brings."""
    folder = resources.files("tensorflow_datasets") / "datasets" / "imagenet2012"
    lines = (folder / "validation_labels.txt").read_text().split()
    return {
        f"ILSVRC2012_val_{number:08}.JPEG": label for number, label in enumerate(lines, start=1)
    }
