"""Opening weight files: their format is recognized, and unsafe files are refused unopened."""

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xception_jax.errors import InputError, require_choice
from xception_jax.models.functional import ModelFunction
from xception_jax.pretrained import hdf5, keras, torch
from xception_jax.pretrained.keras_layers import KerasLayers, read_layers
from xception_jax.pretrained.layers import Layer
from xception_jax.pretrained.tensors import MAX_FILE_BYTES, Matched, readable
from xception_jax.regular_files import FILE, kind_of, open_for_reading
from xception_jax.zip_members import read_member

KERAS, KERAS_ARCHIVE, KERAS_LEGACY, TIMM = "keras", "keras_archive", "keras_legacy", "timm"
SOURCES = ("auto", KERAS, KERAS_ARCHIVE, KERAS_LEGACY, TIMM)
_PICKLED = (".pth", ".pt", ".bin", ".pkl", ".pickle", ".ckpt", ".tar", ".joblib", ".npy", ".npz")
# The only members of a `.keras` archive that are ever opened.
_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"
_MAX_EXPANSION = 100  # largest compression ratio; Keras stores its archives uncompressed


@dataclass(frozen=True)
class Source:
    """An open weight file.

    Attributes:
        path: path of the file.
        kind: a name in `SOURCES` other than "auto".
        match: pairs the arrays of the file with those of a model, given the model's layer table.
        layers: the layers of a whole Keras model; None where the file describes none.
    """

    path: Path
    kind: str
    match: Callable[[ModelFunction, Sequence[Layer]], Matched]
    layers: KerasLayers | None = None


@contextmanager
def open_source(path: str | Path, source: str = "auto") -> Iterator[Source]:
    """Opens a weight file without reading its arrays; nothing in it is executed or unpickled.

    Args:
        path: a `.weights.h5` or `.keras` file of Keras 3, an `.h5` file of an older Keras, or a
            `.safetensors` file with timm's names.
        source: required format of the file, a name in `SOURCES`; "auto" accepts all.

    Raises:
        InputError: the file does not exist, may be a pickle, is damaged, or has an unknown format.
    """
    require_choice("source", source, SOURCES)
    path = Path(path)
    kind = _recognize(path)
    with _reader(path, kind) as opened:
        if source not in ("auto", opened.kind):
            raise InputError("source", source, f"{path} has the format of {opened.kind}")
        yield opened


def _recognize(path: Path) -> str:
    """Recognizes the container of a weight file: "hdf5", "archive" or "safetensors"."""
    if path.suffix.lower() in _PICKLED:
        reason = (
            f"{path.suffix} files can hold a pickle, which can run any program, and are not opened"
        )
        raise InputError("weights", str(path), f"{reason}; convert it to .safetensors first")
    if (path_kind := kind_of("weights", path)) != FILE:
        raise InputError("weights", str(path), "is not a file" if path_kind else "no such file")
    with readable(path):
        size = path.stat().st_size
        with open_for_reading(path) as file:
            start = file.read(9)
    if size > MAX_FILE_BYTES:
        raise InputError(
            "weights", str(path), f"has {size:,} bytes; the limit is {MAX_FILE_BYTES:,}"
        )
    if start.startswith(hdf5.SIGNATURE):
        return "hdf5"
    if start.startswith(b"PK\x03\x04"):
        return "archive"
    if start[8:] == b"{":  # after the length of the header
        return "safetensors"
    known = "an HDF5 file, a .keras archive or a .safetensors file"
    raise InputError("weights", str(path), f"is empty or damaged: it does not start like {known}")


@contextmanager
def _reader(path: Path, container: str) -> Iterator[Source]:
    if container == "safetensors":
        with torch.open_file(path) as tensors:
            yield Source(path, TIMM, partial(torch.match, tensors))
        return
    file, config = None, None
    if container == "archive":
        file = _member(path, _WEIGHTS)
        with readable(path, _CONFIG):
            config = _member(path, _CONFIG).read().decode()
    with hdf5.open_file(path, file) as contents:
        legacy = keras.is_legacy(contents)
        layers = keras.read_legacy(contents) if legacy else keras.read_keras3(contents)
        kind = KERAS_ARCHIVE if file else KERAS_LEGACY if legacy else KERAS
        if legacy:
            config = contents.text("", "model_config")
        described = None if config is None else read_layers(path, config)
        yield Source(path, kind, partial(keras.match, layers), described)


def _member(path: Path, name: str) -> io.BytesIO:
    """A file in a `.keras` archive, verified by the archive's checksum."""
    with readable(path), zipfile.ZipFile(path) as archive:
        if name not in archive.namelist():
            reason = f"is an archive without {name}; if PyTorch wrote it, it is a pickle"
            raise InputError("weights", str(path), f"{reason}: convert it to .safetensors")
        member = archive.getinfo(name)
        packed = max(member.compress_size, 1)
        if member.file_size > min(MAX_FILE_BYTES, _MAX_EXPANSION * packed):
            reason = f"{name} unpacks to {member.file_size:,} bytes from {packed:,}"
            raise InputError("weights", str(path), reason)
        return io.BytesIO(read_member(archive, member))
