"""The data sets by name: where each comes from, and how it is prepared and opened."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xception_jax.data import mosaic, shipped
from xception_jax.data.folder import read_folder
from xception_jax.data.locations import expanded, is_folder, reachable, require_readable_path
from xception_jax.data.splits import ArrayRecords, Records, Source, assign_splits
from xception_jax.errors import InputError, nearest_name
from xception_jax.remote import fetched, require_local, url_of

_ORIGINS = {
    shipped.NAME: "included in xception-jax",
    mosaic.NAME: "made from images included in xception-jax; multi-label",
    "digits": "included in scikit-learn",
    "folder": "data.directory=DIR with train/<class>/*.jpg, and likewise validation, test",
}
_INSTALLED = (mosaic.NAME, "digits")  # wherever the others lie
_NEEDS_NO_PREPARATION = (*_INSTALLED, "folder")


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
    split_seed: int | None = None,
    train_examples: int | None = None,
    upright: bool = True,
    image_key: str | None = None,
    label_key: str | None = None,
    train_split: str | None = None,
) -> Source:
    """Opens a data set for reading.

    Args:
        name: a name in `list_datasets`, or any prepared image classification set of TFDS.
        directory: directory of prepared data sets (None: TFDS's default), or the image folder. If
            it is a URL, its content is downloaded: once, unless it changes.
        validation_fraction: share of the training examples to take for each split that is missing.
        split_seed: seed by which the validation and training examples are drawn, never those of
            `test`; None: as always.
        train_examples: number of training examples to use; None uses all.
        upright: whether images are turned as EXIF's Orientation says.
        image_key: feature of a prepared set that holds the image; None: the one it declares.
        label_key: feature of a prepared set that holds the class; None: the one it declares.
        train_split: split of a prepared set to train on; None: `train`.

    Raises:
        InputError: the data set is unknown, not prepared, damaged, too small, or has no such
            feature or split.
    """
    if name not in _INSTALLED and directory is not None and url_of(directory) is not None:
        directory = _download(name, directory)
    channels = 3
    frequencies: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()
    licence = shipped.LICENCE if name in (shipped.NAME, mosaic.NAME) else None
    keys = {"image_key": image_key, "label_key": label_key, "train_split": train_split}
    if name in _NEEDS_NO_PREPARATION or (name == shipped.NAME and directory is None):
        _require_unset(name, keys)
    parts: dict[str, Records]
    if name == "folder":
        class_names, parts, notes = read_folder(directory)
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
        stored = builders.read(name, path, **keys)
        class_names, channels = stored.class_names, stored.channels
        parts, notes, licence = stored.parts, stored.notes, stored.licence or licence
    return assign_splits(
        name,
        class_names,
        channels,
        parts,
        validation_fraction=validation_fraction,
        split_seed=split_seed,
        train_examples=train_examples,
        class_frequencies=frequencies,
        upright=upright,
        notes=notes,
        licence=licence,
    )


def _require_unset(name: str, keys: Mapping[str, str | None]) -> None:
    """Raises `InputError` for a setting of prepared sets beside a set that is none."""
    for key, value in keys.items():
        if value is not None:
            raise InputError(f"data.{key}", value, f"is only for prepared sets, not for {name}")


def prepare(
    name: str,
    directory: str | None = None,
    from_path: str | None = None,
    *,
    report: Callable[[str], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Path | None:
    """Prepares a data set for runs, unless it is prepared already.

    Preparation can be killed at any time, and many processes may prepare the same set at once.

    Args:
        name: name of the data set.
        directory: directory of prepared data sets; None: TFDS's default.
        from_path: the data set's archive, the folder that it unpacks to, or a directory that holds
            either (see `importing.IMPORTABLE`); for other sets, a directory of the files that TFDS
            asks for.
        report: gets the progress, as text, often.
        note: gets a sentence that people should read.

    Returns:
        The directory of the prepared data set; None if it needs no preparation.

    Raises:
        InputError: the data set is unknown or not one to import from files, files are missing or
            damaged, or a package that is needed to prepare it is not installed.
    """
    if from_path is not None and name in (shipped.NAME, *_NEEDS_NO_PREPARATION):
        reason = f"is for sets that are imported, not for {name}: {_ORIGINS[name]}"
        raise InputError("--from", from_path, reason)
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
        if from_path is not None:
            note(
                f"{name} was prepared before, and nothing was imported from {from_path}; to "
                f"replace it, move {prepared} away and give the command again"
            )
        return prepared
    from xception_jax.data.importing import IMPORTABLE, import_set
    from xception_jax.data.storing import ArraySet, Description, store

    if name == shipped.NAME:
        text = "12,000 + 2,000 images of Fashion-MNIST, ten classes in equal parts."
        homepage = IMPORTABLE["fashion_mnist"].homepage
        described = Description(
            name, shipped.VERSION, text, homepage, shipped.CLASS_NAMES, shipped.LICENCE
        )
        return store(ArraySet(described, shipped.read_shipped()), directory)
    path = None if from_path is None else expanded("--from", from_path)
    if path is not None:
        require_readable_path("--from", path)
    if name in IMPORTABLE and path is not None:
        with reachable("--from", path):
            content = import_set(name, path, report, note)
        return store(content, directory, report)
    _require_known(name, [*IMPORTABLE, *builders.builder_names()])
    hint = None
    if name in IMPORTABLE:
        option = f"add --from DIR, a directory with {IMPORTABLE[name].files}"
        if name not in builders.builder_names():
            raise InputError("data.name", name, f"is imported from an archive: {option}")
        hint = f"or {option}"
    manual = None if path is None else str(path)
    return builders.prepare_with_tfds(name, directory, manual, hint)


def list_datasets(directory: str | None = None) -> list[DatasetRow]:
    """Lists the data sets this project names, and all others prepared in `directory`.

    Raises:
        InputError: `directory` cannot be read. Of TFDS's default, and of single sets, it means that
            nothing is prepared there.
    """
    from xception_jax.data import builders
    from xception_jax.data.importing import IMPORTABLE

    if directory is not None:
        require_local("--directory", directory, "only directories of this machine are listed")
        directory = str(expanded("--directory", directory))
    try:
        root = builders.data_directory(directory)
        with reachable("--directory", root):
            others = sorted(path.name for path in root.iterdir()) if is_folder(root) else []
    except InputError:
        if directory is not None:
            raise
        others = []
    rows = []
    origins = dict(_ORIGINS)
    for name, importable in IMPORTABLE.items():
        origins[name] = f"xception-jax data prepare {name} --from DIR (with {importable.files})"
    for name in dict.fromkeys((*origins, *others)):
        # Stray files and folders are no data sets.
        path = None
        if name.isidentifier():
            with suppress(InputError):
                path = builders.find(name, directory)
        usable = path is not None or name in (shipped.NAME, *_NEEDS_NO_PREPARATION)
        if usable or name in origins:
            origin = origins.get(name, f"xception-jax data prepare {name} (needs TensorFlow once)")
            rows.append(DatasetRow(name, origin, usable, None if path is None else str(path)))
    return rows


def _download(name: str, url: str) -> str:
    """Copies the image folder or the prepared data set; returns the value of data.directory."""
    if name == "folder":
        return str(fetched("data.directory", url))
    from xception_jax.data import builders

    return str(fetched("data.directory", f"{url}/{builders.base_name(name)}").parent)


def _require_known(name: str, names: list[str]) -> None:
    from xception_jax.data import builders

    base = builders.base_name(name)
    if base not in names:
        nearest = nearest_name(base, [*_ORIGINS, *names])
        raise InputError("data.name", name, "unknown data set", nearest)


def _not_prepared(name: str, directory: str | None) -> InputError:
    from xception_jax.data import builders
    from xception_jax.data.importing import IMPORTABLE

    tfds_names = builders.builder_names()
    _require_known(name, [*_ORIGINS, *IMPORTABLE, *tfds_names])
    command, hint = f"xception-jax data prepare {name}", ""
    if name == "fashion_mnist" or builders.base_name(name) not in tfds_names:
        command += " --from DIR"
    elif name in IMPORTABLE:
        hint = " (with --from DIR if you have its archive)"
    reason = f"is not prepared in {builders.data_directory(directory)}; run `{command}`{hint}"
    return InputError("data.name", name, reason)


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
