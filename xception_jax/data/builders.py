"""The only module that knows TensorFlow Datasets: building, finding and reading prepared sets.

Neither reading nor building our own sets needs TensorFlow: records are array_record files, and
images reach TFDS as encoded bytes. Only TFDS's own builders (CIFAR, ImageNet, …) need it, once.
"""

import contextlib
import fcntl
import importlib.util
import io
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.decode import DeserializeMethod
from tensorflow_datasets.proto import tf_example_pb2

from xception_jax.data.images import Encoded
from xception_jax.data.splits import Label, Records
from xception_jax.errors import InputError, nearest_name, refused

_NAME = re.compile(
    r"(?P<set>\w{1,100})(/(?P<config>\w[\w.+-]{0,99}))?(:(?P<version>\d+\.\d+\.\d+))?", re.ASCII
)
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_VALIDATION = ("validation", "valid", "val", "dev")


def data_directory(directory: str | None) -> Path:
    """Where prepared sets are: `directory`, else TFDS's own default (TFDS_DATA_DIR)."""
    return Path(directory or tfds.core.constants.DATA_DIR).expanduser().absolute()


def builder_names() -> list[str]:
    """Names of all the sets that TFDS can prepare."""
    return list(tfds.list_builders(with_community_datasets=False))


def find(name: str, directory: str | None) -> Path | None:
    """Where the set lies prepared, its latest version unless `name` says another; None: nowhere.

    Args:
        name: in TFDS's form, `set`, `set/config`, `set:1.2.3` or `set/config:1.2.3`.
        directory: of all prepared sets; None: the default one.

    Raises:
        InputError: `name` does not have that form.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError("data.name", name, "must have the form set, set/config or set:1.2.3")
    root = data_directory(directory) / match["set"]
    if match["config"]:
        return _latest(root / match["config"], match["version"])
    found = _latest(root, match["version"])
    if found is None and root.is_dir():
        configs = [_latest(child, match["version"]) for child in sorted(root.iterdir())]
        prepared = [path for path in configs if path is not None]
        return prepared[0] if len(prepared) == 1 else None
    return found


def _latest(root: Path, version: str | None) -> Path | None:
    """The latest complete version: TFDS gives a directory its name when all of it is written."""
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


@dataclass(frozen=True)
class TfdsRecords:
    """Records of a split that TFDS prepared, images still encoded.

    Attributes:
        name_of_set: as the user gave it.
        path: of the prepared set.
        split: of these records.
        source: TFDS's, of serialized examples.
        image: key of the image in an example.
        label: key of the label.
    """

    name_of_set: str
    path: Path
    split: str
    source: Any
    image: str
    label: str

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Sequence[int]) -> list[tuple[Encoded, Label]]:
        """The encoded images and the labels.

        Raises:
            InputError: the file of the records is missing or damaged.
        """
        with _damage_named(self.name_of_set, self.path):
            return self._read(indices)

    def _read(self, indices: Sequence[int]) -> list[tuple[Encoded, Label]]:
        # Parsed here, not by TFDS's feature decoders, which take several times as long for this;
        # and many at once, because array_record is slow at single records in random order.
        examples: list[tuple[Encoded, Label]] = []
        for record in self.source.__getitems__(list(indices)):
            feature = tf_example_pb2.Example.FromString(record).features.feature
            image = feature[self.image].bytes_list.value[0]
            examples.append((image, feature[self.label].int64_list.value[0]))
        return examples

    def name(self, index: int) -> str:
        """For example `train[17]`."""
        return f"{self.split}[{index}]"


def read(name: str, path: Path) -> tuple[tuple[str, ...], int, dict[str, Records]]:
    """Class names, channels (1 or 3) and the labelled splits of the set prepared at `path`.

    A test split whose labels are withheld (-1, as ImageNet's) is left out.

    Raises:
        InputError: it is no image classification set, not stored for random access, or damaged.
    """
    with _damage_named(name, path):
        builder = tfds.builder_from_directory(str(path))
    stored = builder.info.file_format
    if stored is not None and stored != tfds.core.FileFormat.ARRAY_RECORD:
        reason = (
            f"is stored as {stored.value} in {path}, which cannot be read in any order; move it "
            f"away and run `xception-jax data prepare {name}`, or convert it with "
            "`tfds convert_format`"
        )
        raise InputError("data.name", name, reason)
    image, label = _keys(name, builder.info)
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


def _damage_named(name: str, path: Path) -> contextlib.AbstractContextManager[None]:
    """For what reads the files of a prepared set."""
    reason = (
        f"the prepared set in {path} is damaged; move that directory away and run "
        f"`xception-jax data prepare {name}`"
    )
    return refused("data.name", name, reason)


def _keys(name: str, info: Any) -> tuple[str, str]:
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
    """A data set in memory, to be stored.

    Attributes:
        name: of the set.
        version: of the set, `1.2.3`.
        description: of the set.
        homepage: of the set.
        class_names: in the order of the labels.
        splits: images uint8 [n, height, width, channels] and labels [n], by TFDS's split names.
    """

    name: str
    version: str
    description: str
    homepage: str
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[np.ndarray, np.ndarray]]


def prepare_arrays(content: ArraySet, directory: str | None) -> Path:
    """Stores arrays as a TFDS set; does nothing where that version is there already.

    Args:
        content: what to store.
        directory: of all prepared sets; None: the default one.

    Returns:
        Where it is.

    Raises:
        InputError: the directory cannot be written.
    """
    with _preparing(content.name, directory) as root:
        builder = _builder_class(content)(data_dir=str(root), file_format="array_record")
        # Seconds long, and often in the middle of something else's progress display.
        tfds.disable_progress_bar()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare()
        finally:
            tfds.enable_progress_bar()
        return Path(builder.data_path)


def _builder_class(content: ArraySet) -> Any:
    # Registered names are unique in a process, and TFDS has a fashion_mnist of its own.
    with tfds.core.registered.skip_registration():

        class Builder(tfds.core.GeneratorBasedBuilder):
            """The set, as TFDS wants it told."""

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
    """Downloads and stores one of TFDS's own sets.

    Args:
        name: in TFDS's form.
        directory: of all prepared sets; None: the default one.
        manual_directory: of what a person must download (ImageNet's archives).

    Raises:
        InputError: TensorFlow is not installed, or TFDS cannot get or write the set.
    """
    base = re.split(r"[/:]", name)[0]  # what follows is a configuration, or a version
    if base not in (known := [*builder_names(), "fashion_mnist", "folder", "digits"]):
        raise InputError("data.name", name, "is no data set", nearest_name(base, known))
    if importlib.util.find_spec("tensorflow") is None:
        reason = "preparing it takes TensorFlow, this once: pip install 'xception-jax[prepare]'"
        raise InputError("data.name", name, reason)
    config = tfds.download.DownloadConfig(manual_dir=manual_directory)
    with _preparing(name, directory) as root:
        try:
            builder = tfds.builder(name, data_dir=str(root), file_format="array_record")
            builder.download_and_prepare(
                download_config=config, file_format=tfds.core.FileFormat.ARRAY_RECORD
            )
        except tfds.core.DatasetNotFoundError as error:
            near = nearest_name(name, builder_names())
            raise InputError("data.name", name, "is no TFDS data set", near) from error
        # What TFDS raises for a missing manual download is an AssertionError.
        except (AssertionError, OSError, ValueError) as error:
            reason = f"TFDS cannot prepare it: {str(error).strip()[:300]}"
            raise InputError("data.name", name, reason) from error
        return Path(builder.data_path)


@contextlib.contextmanager
def _preparing(name: str, directory: str | None) -> Iterator[Path]:
    """Holds the lock on one set's preparation, and clears away what a killed one left.

    TFDS writes into `incomplete.*` and renames it when all is there, so that a kill leaves no
    half-written set; but of two processes that prepare at once it lets one fail. With the lock the
    second waits, then finds the set prepared.
    """
    root = data_directory(directory)
    set_name = re.split("[/:]", name)[0]
    try:
        (root / set_name).mkdir(parents=True, exist_ok=True)
        lock = (root / f".{set_name}.lock").open("w")
    except OSError as error:
        reason = f"prepared data sets cannot be written there: {error.strerror}"
        raise InputError("data.directory", str(root), reason) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in (root / set_name).rglob("incomplete.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield root


def _png(image: np.ndarray) -> io.BytesIO:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    buffer.seek(0)
    return buffer
