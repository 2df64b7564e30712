"""Building, finding and opening prepared data sets of TFDS.

Neither reading data sets nor building those of this package needs TensorFlow: records are
array_record files, and images reach TFDS as encoded bytes. Only TFDS's own builders (CIFAR,
ImageNet, …) need TensorFlow, once.
"""

import contextlib
import errno
import importlib.util
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.decode import DeserializeMethod

from xception_jax.data.locations import expanded, is_folder, reachable
from xception_jax.data.splits import Records
from xception_jax.data.tfds_records import TfdsRecords, damage_as_input_error, labelled
from xception_jax.data.trusted_features import require_trusted_features
from xception_jax.errors import InputError, nearest_name, one_line
from xception_jax.lock import locked
from xception_jax.remote import require_local

_NAME = re.compile(
    r"(?P<set>\w{1,100})(/(?P<config>\w[\w.+-]{0,99}))?(:(?P<version>\d+\.\d+\.\d+))?", re.ASCII
)
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_LONGEST_LICENCE = 120  # characters; some sets declare its whole text
_VALIDATION = ("validation", "valid", "val", "dev")


def data_directory(directory: str | None) -> Path:
    """Returns the directory of prepared sets: `directory`, or TFDS's default (TFDS_DATA_DIR).

    Raises:
        InputError: it begins with the home of a user who is not known, or TFDS_DATA_DIR is a URL.
    """
    if not directory:
        directory = str(tfds.core.constants.DATA_DIR)
        _require_no_url(directory)
    return expanded("data.directory", directory).absolute()


def _require_no_url(default: str) -> None:
    """Raises `InputError` if TFDS's default directory of prepared sets is a URL of any scheme."""
    reason = (
        "is TFDS_DATA_DIR, and no directory of this machine: give it to runs as data.directory, "
        "and another one to `xception-jax data prepare` as --directory"
    )
    try:
        require_local("data.directory", default, reason)
    except InputError as error:
        if error.field == "data.directory":
            raise
        # Of a URL that no run could use either, it says why. Nobody has set `directory`.
        reason = f"is TFDS_DATA_DIR: {error.reason}"
        raise InputError("data.directory", error.value, reason) from error


def builder_names() -> list[str]:
    """Returns the names of all data sets that TFDS can prepare."""
    return list(tfds.list_builders(with_community_datasets=False))


def base_name(name: str) -> str:
    """Returns a data set's name without its configuration and version."""
    return re.split("[/:]", name)[0]


def find(name: str, directory: str | None) -> Path | None:
    """Finds a prepared data set, in its latest version unless `name` names a version.

    Args:
        name: name in TFDS's form: `set`, `set/config`, `set:1.2.3` or `set/config:1.2.3`.
        directory: directory of all prepared data sets; None: TFDS's default.

    Returns:
        The directory of the prepared data set; None if it is not prepared.

    Raises:
        InputError: `name` does not have that form, or names no configuration where several are
            prepared; or the directory cannot be read.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError("data.name", name, "must have the form set, set/config or set:1.2.3")
    root = data_directory(directory)
    with reachable("data.directory", root):
        return _find(root / match["set"], match["config"], match["version"])


def _find(root: Path, config: str | None, version: str | None) -> Path | None:
    if config:
        return _latest(root / config, version)
    prepared = _latest(root, version)
    if prepared is None and is_folder(root):
        candidates = [_latest(child, version) for child in sorted(root.iterdir())]
        configs = [path for path in candidates if path is not None]
        if len(configs) > 1:
            ending = f":{version}" if version else ""
            names = [f"{root.name}/{path.parent.name}{ending}" for path in configs]
            reason = f"is prepared in several configurations, {', '.join(names)}: name one"
            raise InputError("data.name", f"{root.name}{ending}", reason, names[0])
        return configs[0] if configs else None
    return prepared


def _latest(root: Path, version: str | None) -> Path | None:
    """Finds the latest complete version: TFDS names a directory only once it is fully written."""
    if not is_folder(root):
        return None
    complete = [
        path
        for path in root.iterdir()
        if _VERSION.fullmatch(path.name)
        and (path / "dataset_info.json").exists()
        and version in (None, path.name)
    ]
    return max(complete, key=lambda p: tuple(map(int, p.name.split("."))), default=None)


@dataclass(frozen=True)
class StoredSet:
    """A prepared data set, opened.

    Attributes:
        class_names: names of the classes, in label order.
        channels: number of channels, 1 or 3.
        parts: the records of every labelled split, among them "train".
        notes: what people should know of the data set, a sentence each.
        licence: its licence as the set declares it, in a line; None: it does not.
    """

    class_names: tuple[str, ...]
    channels: int
    parts: dict[str, Records]
    notes: tuple[str, ...]
    licence: str | None = None


def read(
    name: str,
    path: Path,
    *,
    image_key: str | None = None,
    label_key: str | None = None,
    train_split: str | None = None,
) -> StoredSet:
    """Opens the data set prepared in `path`.

    A split whose labels are withheld (-1, as those of ImageNet's test images) is left out, and so
    are single examples of other splits without a label; a note says how many.

    Args:
        name: name of the data set, for messages.
        path: directory of the prepared data set.
        image_key: feature that holds the image; None: the one that the set declares, or its only.
        label_key: feature that holds the class; None: likewise.
        train_split: split to train on; None: `train`.

    Raises:
        InputError: the data set is not one of image classification, has no such feature or split,
            is not stored for random access, or damaged.
    """
    with damage_as_input_error(name, path):
        for file in path.iterdir():  # TFDS would wait for a pipe
            if not (file.is_file() or file.is_dir()):
                raise OSError(errno.EINVAL, "is not a regular file", str(file))
        require_trusted_features(name, path)
        builder = tfds.builder_from_directory(str(path))
    stored = builder.info.file_format
    if stored is not None and stored != tfds.core.FileFormat.ARRAY_RECORD:
        reason = (
            f"is stored as {stored.value} in {path}, which cannot be read in any order; move it "
            f"away and run `xception-jax data prepare {name}`, or convert it with "
            "`tfds convert_format`"
        )
        raise InputError("data.name", name, reason)
    image = _feature("data.image_key", image_key, name, builder.info, tfds.features.Image)
    label = _feature("data.label_key", label_key, name, builder.info, tfds.features.ClassLabel)
    splits = list(builder.info.splits)
    trained = train_split or "train"
    if trained not in splits:
        field, value = ("data.train_split", train_split) if train_split else ("data.name", name)
        reason = f"has no split named {trained}; it has {', '.join(splits)}"
        if not train_split:
            reason += ", and data.train_split says which to train on"
        raise InputError(field, value, reason, nearest_name(trained, splits))
    parts: dict[str, Records] = {}
    notes: list[str] = []
    for split in splits:
        with damage_as_input_error(name, path):
            source = builder.as_data_source(split, deserialize_method=DeserializeMethod.RAW_BYTES)
        stored_records = TfdsRecords(name, path, split, source, image, label)
        stored_records.require_no_growth()
        records = labelled(stored_records)
        if split == trained:
            parts["train"] = records
        elif len(records) > 0 and split != "train":
            role = "validation" if split in _VALIDATION else split
            if role in parts:
                both = ", ".join(other for other in splits if other in _VALIDATION)
                raise InputError("data.name", name, f"has several validation splits: {both}")
            parts[role] = records
        if 0 < len(records) < len(source):
            missing = f"{len(source) - len(records)} of {len(source)}"
            notes.append(f"{missing} examples of the {split} split have no label: left out")
    if not len(parts["train"]):
        raise InputError("data.name", name, f"its split {trained} has no example with a {label}")
    features = builder.info.features
    channels = 1 if features[image].shape[-1] == 1 else 3
    declared: str = builder.info.redistribution_info.license
    licence = " ".join(declared.split())[:_LONGEST_LICENCE] or None
    return StoredSet(tuple(features[label].names), channels, parts, tuple(notes), licence)


def _feature(field: str, chosen: str | None, name: str, info: Any, kind: type) -> str:
    """The name of the feature of a kind that the user chose, the set declares, or alone has.

    Raises:
        InputError: there is none, or there are several to choose from.
    """
    suitable = [key for key, feature in sorted(info.features.items()) if isinstance(feature, kind)]
    if chosen is None:
        declared = info.supervised_keys or ()
        preferred = [key for key in suitable if key in declared] or suitable
        if len(preferred) == 1:
            return preferred[0]
    elif chosen in suitable:
        return chosen
    if not suitable:
        features = ", ".join(sorted(info.features))
        reason = f"is no image classification set: none of its features ({features}) is of TFDS's"
        raise InputError("data.name", name, f"{reason} kind {kind.__name__}")
    reason = f"must be one of {', '.join(suitable)}, features of {name}"
    raise InputError(field, chosen, reason, nearest_name(chosen, suitable) or suitable[0])


def prepare_with_tfds(
    name: str, directory: str | None, manual_directory: str | None, hint: str | None = None
) -> Path:
    """Downloads and stores one of TFDS's own data sets.

    Args:
        name: name in TFDS's form; its first part is one of `builder_names`.
        directory: directory of all prepared data sets; None: TFDS's default.
        manual_directory: directory of files that must be downloaded by hand.
        hint: what else could be done without TensorFlow; None: nothing.

    Returns:
        The directory of the prepared data set.

    Raises:
        InputError: TensorFlow is not installed, or TFDS cannot download or store the data set.
    """
    if importlib.util.find_spec("tensorflow") is None:
        reason = "preparing it needs TensorFlow, once: pip install 'xception-jax[prepare]'"
        raise InputError("data.name", name, reason if hint is None else f"{reason}; {hint}")
    config = tfds.download.DownloadConfig(manual_dir=manual_directory)
    with preparation_lock(name, directory) as root:
        try:
            builder = tfds.builder(name, data_dir=str(root), file_format="array_record")
            builder.download_and_prepare(
                download_config=config, file_format=tfds.core.FileFormat.ARRAY_RECORD
            )
        # A builder can raise nearly anything: AssertionError if a manual download is missing,
        # NonMatchingChecksumError for a changed file, or what the server's answer leads to.
        except Exception as error:
            reason = f"TFDS cannot prepare it: {one_line(error)}"
            raise InputError("data.name", name, reason) from error
        return Path(builder.data_path)


@contextlib.contextmanager
def preparation_lock(name: str, directory: str | None) -> Iterator[Path]:
    """Holds the lock on a data set's preparation, and removes what a killed one left.

    TFDS writes into `incomplete.*` and renames it when it is complete, so that a kill leaves no
    partial data set. But if two processes prepare at once, one fails; with the lock it waits, then
    finds the data set prepared.
    """
    root = data_directory(directory)
    set_name = base_name(name)
    try:
        (root / set_name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"prepared data sets cannot be written to it: {error.strerror}"
        raise InputError("data.directory", str(root), reason) from error
    with locked(root / set_name, field="data.directory", wait=True):
        for leftover in (root / set_name).rglob("incomplete.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield root
