"""The data sets by name: where each comes from, and how it is prepared and opened."""

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
_ORIGINS = {
    shipped.NAME: "included in xception-jax",
    mosaic.NAME: "made from images included in xception-jax; multi-label",
    "fashion_mnist": "xception-jax data prepare fashion_mnist --from DIR (with the idx files)",
    "digits": "included in scikit-learn",
    "folder": "data.directory=DIR with train/<class>/*.jpg, and likewise validation, test",
}
_NEEDS_NO_PREPARATION = (mosaic.NAME, "digits", "folder")
_COMMON_TFDS = ("cifar10", "cifar100", "imagenet2012")


@dataclass(frozen=True)
class DatasetRow:
    """A row of `xception-jax data list`.

    Attributes:
        name: the value of data.name.
        origin: where the data set comes from, or the command that prepares it.
        prepared: whether a run could use it now.
        location: directory of the prepared data set; None if there is none.
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
    """Opens a data set for reading.

    Args:
        name: a name in `list_datasets`, or any prepared image classification set of TFDS.
        directory: directory of prepared data sets (None: TFDS's default), or the image folder. If
            it is a URL, its content is downloaded once.
        validation_fraction: share of the training examples to take for each split that is missing.
        train_examples: number of training examples to use; None uses all.

    Raises:
        InputError: the data set is unknown, not prepared, damaged, or too small.
    """
    if directory is not None and url_of(directory) is not None:
        directory = _download(name, directory)
    channels = 3
    frequencies: tuple[float, ...] | None = None
    parts: dict[str, Records]
    if name == "folder":
        class_names, parts = read_folder(directory)
    elif name == mosaic.NAME:
        class_names, frequencies, parts = mosaic.read_mosaic()
        channels = 1
    elif name == shipped.NAME and directory is None:
        class_names, parts = shipped.read_records()
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
    """Prepares a data set for runs, unless it is prepared already.

    Preparation can be killed at any time, and many processes may prepare the same set at once.

    Args:
        name: name of the data set.
        directory: directory of prepared data sets; None: TFDS's default.
        from_directory: directory of manually downloaded files: the idx files of `fashion_mnist`, or
            what TFDS asks for (ImageNet's archives).

    Returns:
        The directory of the prepared data set; None if it needs no preparation.

    Raises:
        InputError: the data set is unknown, files are missing or damaged, or a package that is
            needed to prepare it is not installed.
    """
    if name in _NEEDS_NO_PREPARATION:
        return None
    if directory is not None:
        reason = "is no directory of this machine: prepare it here, then copy it there"
        require_local("data.directory", directory, reason)
    from xception_jax.data import builders

    # A newer release of the package may ship other images than those prepared by an older one.
    versioned_name = f"{name}:{shipped.VERSION}" if name == shipped.NAME else name
    prepared = builders.find(versioned_name, directory)
    if prepared is not None:
        return prepared
    if name == shipped.NAME:
        splits = shipped.read_shipped()
        description = "12,000 + 2,000 images of Fashion-MNIST, ten classes in equal parts."
    elif name == "fashion_mnist" and from_directory is not None:
        splits = _read_fashion_mnist(Path(from_directory).expanduser())
        description = "Fashion-MNIST, imported from its idx files."
    else:
        _require_known(name, builders.builder_names())
        return builders.prepare_with_tfds(name, directory, from_directory)
    array_set = builders.ArraySet(
        name, shipped.VERSION, description, _FASHION_MNIST, shipped.CLASS_NAMES, splits
    )
    return builders.prepare_arrays(array_set, directory)


def list_datasets(directory: str | None = None) -> list[DatasetRow]:
    """Lists the data sets this project names, and all others prepared in `directory`."""
    from xception_jax.data import builders

    if directory is not None:
        require_local("--directory", directory, "only directories of this machine are listed")
    root = builders.data_directory(directory)
    others = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    rows = []
    for name in dict.fromkeys((*_ORIGINS, *_COMMON_TFDS, *others)):
        # A name with a dot is a lock file; other stray files are no data sets either.
        path = builders.find(name, directory) if name.isidentifier() else None
        usable = path is not None or name in (shipped.NAME, *_NEEDS_NO_PREPARATION)
        if usable or name in (*_ORIGINS, *_COMMON_TFDS):
            origin = _ORIGINS.get(name, f"xception-jax data prepare {name} (needs TensorFlow once)")
            rows.append(DatasetRow(name, origin, usable, None if path is None else str(path)))
    return rows


def _download(name: str, url: str) -> str:
    """Copies the image folder or the prepared data set; returns the value of data.directory."""
    if name == "folder":
        return str(fetched("data.directory", url))
    from xception_jax.data import builders

    return str(fetched("data.directory", f"{url}/{builders.base_name(name)}").parent)


def _require_known(name: str, tfds_names: list[str]) -> None:
    from xception_jax.data import builders

    base = builders.base_name(name)
    if base not in tfds_names:
        nearest = nearest_name(base, [*_ORIGINS, *tfds_names])
        raise InputError("data.name", name, "unknown data set", nearest)


def _not_prepared(name: str, directory: str | None) -> InputError:
    from xception_jax.data import builders

    _require_known(name, [*_ORIGINS, *builders.builder_names()])
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
        reason = "is included in scikit-learn, which is not installed: pip install scikit-learn"
        raise InputError("data.name", "digits", reason) from error
    digits = load_digits()
    # The scanned digits have 17 grey levels, 0 to 16.
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    return tuple("0123456789"), {"train": ArrayRecords("train", images, digits.target)}
