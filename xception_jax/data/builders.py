"""Building, finding and opening prepared data sets of TFDS.

Neither reading data sets nor building those of this package needs TensorFlow: records are
array_record files, and images reach TFDS as encoded bytes. Only TFDS's own builders (CIFAR,
ImageNet, …) need TensorFlow, once.
"""

import contextlib
import importlib.util
import io
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.decode import DeserializeMethod

from xception_jax.data.splits import Records
from xception_jax.data.tfds_records import TfdsRecords, damage_as_input_error
from xception_jax.data.trusted_features import require_trusted_features
from xception_jax.errors import InputError
from xception_jax.lock import locked

_NAME = re.compile(
    r"(?P<set>\w{1,100})(/(?P<config>\w[\w.+-]{0,99}))?(:(?P<version>\d+\.\d+\.\d+))?", re.ASCII
)
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_VALIDATION = ("validation", "valid", "val", "dev")


def data_directory(directory: str | None) -> Path:
    """Returns the directory of prepared sets: `directory`, or TFDS's default (TFDS_DATA_DIR)."""
    return Path(directory or tfds.core.constants.DATA_DIR).expanduser().absolute()


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
        InputError: `name` does not have that form.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError("data.name", name, "must have the form set, set/config or set:1.2.3")
    root = data_directory(directory) / match["set"]
    if match["config"]:
        return _latest(root / match["config"], match["version"])
    prepared = _latest(root, match["version"])
    if prepared is None and root.is_dir():
        candidates = [_latest(child, match["version"]) for child in sorted(root.iterdir())]
        configs = [path for path in candidates if path is not None]
        return configs[0] if len(configs) == 1 else None
    return prepared


def _latest(root: Path, version: str | None) -> Path | None:
    """Finds the latest complete version: TFDS names a directory only once it is fully written."""
    if not root.is_dir():
        return None
    complete = [
        path
        for path in root.iterdir()
        if _VERSION.fullmatch(path.name)
        and (path / "dataset_info.json").exists()
        and version in (None, path.name)
    ]
    return max(complete, key=lambda p: tuple(map(int, p.name.split("."))), default=None)


def read(name: str, path: Path) -> tuple[tuple[str, ...], int, dict[str, Records]]:
    """Opens the data set prepared in `path`.

    A test split whose labels are withheld (-1, as ImageNet's) is left out.

    Returns:
        The class names, the number of channels (1 or 3), and the records of the labelled splits.

    Raises:
        InputError: the data set is not one of image classification, not stored for random access,
            or damaged.
    """
    with damage_as_input_error(name, path):
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
    image, label = _image_and_label_keys(name, builder.info)
    features = builder.info.features
    raw = DeserializeMethod.RAW_BYTES
    parts: dict[str, Records] = {}
    for split in builder.info.splits:
        source = builder.as_data_source(split, deserialize_method=raw)
        records = TfdsRecords(name, path, split, source, image, label)
        if len(records) > 0 and int(records.read([0])[0][1]) >= 0:
            parts["validation" if split in _VALIDATION else split] = records
    if "train" not in parts:
        raise InputError("data.name", name, f"has no split named train in {path}")
    channels = 1 if features[image].shape[-1] == 1 else 3
    return tuple(features[label].names), channels, parts


def _image_and_label_keys(name: str, info: Any) -> tuple[str, str]:
    image, label = info.supervised_keys if info.supervised_keys else ("image", "label")
    features = info.features
    if (
        image not in features
        or label not in features
        or not isinstance(features[image], tfds.features.Image)
        or not isinstance(features[label], tfds.features.ClassLabel)
    ):
        raise InputError("data.name", name, "is no image classification set: no image and class")
    return image, label


@dataclass(frozen=True)
class ArraySet:
    """A data set in memory, to be stored by `prepare_arrays`.

    Attributes:
        name: name of the data set.
        version: version of the data set, such as `1.2.3`.
        description: description for TFDS.
        homepage: address of the data set's home page, for TFDS.
        class_names: names of the classes, in label order.
        splits: images uint8 [n, height, width, channels] and labels [n] of each TFDS split.
    """

    name: str
    version: str
    description: str
    homepage: str
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[np.ndarray, np.ndarray]]


def prepare_arrays(content: ArraySet, directory: str | None) -> Path:
    """Stores arrays as a TFDS data set, unless that version is stored already.

    Args:
        content: the data set to store.
        directory: directory of all prepared data sets; None: TFDS's default.

    Returns:
        The directory of the prepared data set.

    Raises:
        InputError: the directory cannot be written.
    """
    with _preparation_lock(content.name, directory) as root:
        builder = _builder_class(content)(data_dir=str(root), file_format="array_record")
        # It takes seconds, and often runs in the middle of another progress display.
        tfds.disable_progress_bar()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare()
        finally:
            tfds.enable_progress_bar()
        return Path(builder.data_path)


def _builder_class(content: ArraySet) -> Any:
    # Registered names must be unique in a process, and TFDS registers its own fashion_mnist.
    with tfds.core.registered.skip_registration():

        class Builder(tfds.core.GeneratorBasedBuilder):
            """The data set in the form that TFDS requires."""

            name = content.name
            VERSION = tfds.core.Version(content.version)

            def _info(self) -> Any:
                shape = next(iter(content.splits.values()))[0].shape[1:]
                features = {
                    "image": tfds.features.Image(shape=shape, encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(content.class_names)),
                }
                return tfds.core.DatasetInfo(
                    builder=self,
                    description=content.description,
                    homepage=content.homepage,
                    features=tfds.features.FeaturesDict(features),
                    supervised_keys=("image", "label"),
                )

            def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                del dl_manager
                return {split: self._generate_examples(split) for split in content.splits}

            def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
                for index, (image, label) in enumerate(zip(*content.splits[split], strict=True)):
                    yield index, {"image": _png(image), "label": int(label)}

    return Builder


def prepare_with_tfds(name: str, directory: str | None, manual_directory: str | None) -> Path:
    """Downloads and stores one of TFDS's own data sets.

    Args:
        name: name in TFDS's form; its first part is one of `builder_names`.
        directory: directory of all prepared data sets; None: TFDS's default.
        manual_directory: directory of files that must be downloaded by hand (ImageNet's archives).

    Returns:
        The directory of the prepared data set.

    Raises:
        InputError: TensorFlow is not installed, or TFDS cannot download or store the data set.
    """
    if importlib.util.find_spec("tensorflow") is None:
        reason = "preparing it needs TensorFlow, once: pip install 'xception-jax[prepare]'"
        raise InputError("data.name", name, reason)
    config = tfds.download.DownloadConfig(manual_dir=manual_directory)
    with _preparation_lock(name, directory) as root:
        try:
            builder = tfds.builder(name, data_dir=str(root), file_format="array_record")
            builder.download_and_prepare(
                download_config=config, file_format=tfds.core.FileFormat.ARRAY_RECORD
            )
        # TFDS raises AssertionError if a manual download is missing.
        except (AssertionError, OSError, ValueError) as error:
            reason = f"TFDS cannot prepare it: {str(error).strip()[:300]}"
            raise InputError("data.name", name, reason) from error
        return Path(builder.data_path)


@contextlib.contextmanager
def _preparation_lock(name: str, directory: str | None) -> Iterator[Path]:
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


def _png(image: np.ndarray) -> io.BytesIO:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    buffer.seek(0)
    return buffer
