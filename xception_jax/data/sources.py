"""Every data set by name: where it comes from, how it is prepared and read."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xception_jax.data import mosaic, shipped
from xception_jax.data.folder import read_folder
from xception_jax.data.idx import read_labelled_images
from xception_jax.data.splits import ArrayRecords, Records, Source, assign_splits
from xception_jax.errors import InputError, nearest_name
from xception_jax.remote import fetched, require_local, url_of

_FASHION_MNIST = "https://github.com/zalandoresearch/fashion-mnist"
_OWN = {
    shipped.NAME: "comes with xception-jax; stored at first use",
    mosaic.NAME: "made of the images that come with xception-jax; multi-label",
    "fashion_mnist": "xception-jax data prepare fashion_mnist --from DIR (of the idx files)",
    "digits": "comes with scikit-learn",
    "folder": "data.directory=DIR with train/<class>/*.jpg, and validation, test alike",
}
_NEED_NO_PLACE = (mosaic.NAME, "digits", "folder")
_COMMON_TFDS = ("cifar10", "cifar100", "imagenet2012")


@dataclass(frozen=True)
class DatasetRow:
    """What `xception-jax data list` tells of a set.

    Attributes:
        name: the value of data.name.
        origin: how it comes, or the command that prepares it.
        prepared: whether a run could use it now.
        location: where it lies; None where it does not, or needs no place.
    """

    name: str
    origin: str
    prepared: bool
    location: str | None


def load(
    name: str,
    *,
    directory: str | None = None,
    validation_fraction: float = 0.1,
    train_examples: int | None = None,
) -> Source:
    """The data set `name`, ready to be read.

    Args:
        name: a name of `list_datasets`, any image classification set of TFDS that is prepared, or
            `folder`.
        directory: of prepared sets (None: TFDS's default), or the image folder; what is at a URL
            is fetched, once.
        validation_fraction: share of train that a split the set lacks gets.
        train_examples: use only the first so many training examples; None: all.

    Raises:
        InputError: unknown, not prepared, damaged, or too small.
    """
    if directory is not None and url_of(directory) is not None:
        directory = _fetched(name, directory)
    channels = 3
    frequencies: tuple[float, ...] | None = None
    parts: dict[str, Records]
    if name == "folder":
        class_names, parts = read_folder(directory)
    elif name == mosaic.NAME:
        class_names, frequencies, parts = mosaic.read_mosaic()
        channels = 1
    elif name == "digits":
        class_names, parts = _read_digits()
        channels = 1
    else:
        from xception_jax.data import builders

        path = prepare(name, directory) if name == shipped.NAME else builders.find(name, directory)
        if path is None:
            raise _not_prepared(name, directory)
        class_names, channels, parts = builders.read(name, path)
    return assign_splits(
        name,
        class_names,
        channels,
        parts,
        validation_fraction=validation_fraction,
        train_examples=train_examples,
        class_frequencies=frequencies,
    )


def prepare(
    name: str, directory: str | None = None, from_directory: str | None = None
) -> Path | None:
    """Makes the data set `name` ready for runs; does nothing where it is ready.

    It is safe to kill, and to run in many processes at once.

    Args:
        name: of the set.
        directory: of prepared sets; None: TFDS's default.
        from_directory: of files downloaded by hand: the idx files of `fashion_mnist`, or what TFDS
            asks for (ImageNet's archives).

    Returns:
        Where the set lies; None for one that needs no preparation.

    Raises:
        InputError: unknown, files missing or damaged, or what prepares it is not installed.
    """
    if name in _NEED_NO_PLACE:
        return None
    if directory is not None:
        reason = "is no directory of this machine: prepare it here, then copy it there"
        require_local("data.directory", directory, reason)
    from xception_jax.data import builders

    # A newer release of the package may ship other images than those prepared by an older one.
    wanted = f"{name}:{shipped.VERSION}" if name == shipped.NAME else name
    found = builders.find(wanted, directory)
    if found is not None:
        return found
    if name == shipped.NAME:
        # Through TFDS like every other set, not straight from the sprites: storing it takes about
        # two seconds, once, and every first run exercises the path the large sets take.
        splits = shipped.read_shipped()
        description = "12,000 + 2,000 images of Fashion-MNIST, ten classes in equal parts."
    elif name == "fashion_mnist" and from_directory is not None:
        splits = _read_fashion_mnist(Path(from_directory).expanduser())
        description = "Fashion-MNIST, imported from its idx files."
    else:
        return builders.prepare_with_tfds(name, directory, from_directory)
    content = builders.ArraySet(
        name, shipped.VERSION, description, _FASHION_MNIST, shipped.CLASS_NAMES, splits
    )
    return builders.prepare_arrays(content, directory)


def list_datasets(directory: str | None = None) -> list[DatasetRow]:
    """The sets this project names, and every other one that lies prepared in `directory`."""
    from xception_jax.data import builders

    if directory is not None:
        require_local("--directory", directory, "only directories of this machine are listed")
    root = builders.data_directory(directory)
    others = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    rows = []
    for name in dict.fromkeys((*_OWN, *_COMMON_TFDS, *others)):
        own = name in (shipped.NAME, *_NEED_NO_PLACE)
        # A name with a dot is a lock; other stray files are no sets either.
        path = builders.find(name, directory) if name.isidentifier() else None
        if own or path is not None or name in (*_OWN, *_COMMON_TFDS):
            origin = _OWN.get(name, f"xception-jax data prepare {name} (takes TensorFlow, once)")
            location = None if path is None else str(path)
            rows.append(DatasetRow(name, origin, own or path is not None, location))
    return rows


def _fetched(name: str, url: str) -> str:
    """The image folder, or the parent of the set, as a copy on this machine."""
    if name == "folder":
        return str(fetched("data.directory", url))
    return str(fetched("data.directory", f"{url}/{_set_name(name)}").parent)


def _set_name(name: str) -> str:
    """Without what says which configuration or version."""
    return re.split("[/:]", name)[0]


def _not_prepared(name: str, directory: str | None) -> InputError:
    from xception_jax.data import builders

    known = [*_OWN, *builders.builder_names()]
    if _set_name(name) not in known:
        return InputError("data.name", name, "unknown data set", nearest_name(name, known))
    command = f"xception-jax data prepare {name}"
    if name == "fashion_mnist":
        command += " --from DIR"
    reason = f"is not prepared in {builders.data_directory(directory)}; run `{command}`"
    return InputError("data.name", name, reason)


def _read_fashion_mnist(directory: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    splits = {
        "train": read_labelled_images(directory, "train"),
        "test": read_labelled_images(directory, "t10k"),
    }
    for split, (_, labels) in splits.items():
        if labels.size == 0 or labels.max() >= len(shipped.CLASS_NAMES):
            reason = f"the {split} labels are empty or not all below {len(shipped.CLASS_NAMES)}"
            raise InputError("from_directory", str(directory), reason)
    return splits


def _read_digits() -> tuple[tuple[str, ...], dict[str, Records]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        reason = "comes with scikit-learn, which is not installed: pip install scikit-learn"
        raise InputError("data.name", "digits", reason) from error
    digits = load_digits()
    # The scanned digits have 17 levels of grey, 0 to 16.
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    return tuple("0123456789"), {"train": ArrayRecords("train", images, digits.target)}
