"""Reading the idx format of MNIST and its relatives: a big-endian header, then unsigned bytes."""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from xception_jax.errors import InputError
from xception_jax.regular_files import MAX_BYTES, read_regular

_UNSIGNED_BYTE = 0x08
_MAX_RANK = 8  # of images with channels it is 4; NumPy has no more than 64


def read_idx(path: Path) -> np.ndarray:
    """Reads the array in an idx file of unsigned bytes, compressed with gzip or not.

    Returns:
        An array of dtype uint8 with the shape given in the header.

    Raises:
        InputError: the file is missing, is not an idx file of unsigned bytes, is truncated, or
            unpacks to more than `MAX_BYTES`.
    """
    try:
        content = read_regular(path)
        if content[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as unpacked:
                content = unpacked.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError("file", str(path), f"unpacks to more than {MAX_BYTES:,} bytes")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError("file", str(path), f"cannot be read: {error}") from error
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise InputError("file", str(path), "is no idx file of unsigned bytes")
    rank = content[3]
    header = 4 + 4 * rank
    if rank > _MAX_RANK or len(content) < header:
        raise InputError("file", str(path), f"is damaged: its header declares {rank} dimensions")
    shape = struct.unpack(f">{rank}I", content[4:header])
    if len(content) != header + math.prod(shape):
        size = len(content) - header
        raise InputError("file", str(path), f"holds {size} bytes of data for the shape {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_labelled_images(directory: Path, stem: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads `<stem>-images-idx3-ubyte[.gz]` and `<stem>-labels-idx1-ubyte[.gz]`; see `find_idx`.

    Returns:
        The images, uint8 [n, height, width, 1], and the labels, int32 [n].

    Raises:
        InputError: a file is missing or damaged, its images have no pixels, or the files do not
            belong together.
    """
    file = find_idx(directory, f"{stem}-images-idx3-ubyte")
    images = read_idx(file)
    labels = read_idx(find_idx(directory, f"{stem}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        reason = f"{stem} images {images.shape} and labels {labels.shape} do not belong together"
        raise InputError("--from", str(directory), reason)
    if 0 in images.shape[1:]:
        raise InputError("--from", str(file), f"its images have no pixels: shape {images.shape}")
    return images[..., np.newaxis], labels.astype(np.int32)


def find_idx(directory: Path, name: str) -> Path:
    """Finds an idx file, compressed or not, also with a dot before `idx` or in a folder `raw`.

    Raises:
        InputError: there is none.
    """
    for folder in (directory, directory / "raw"):
        for spelling in (name, name.replace("-idx", ".idx")):
            for candidate in (folder / f"{spelling}.gz", folder / spelling):
                if candidate.is_file():
                    return candidate
    raise InputError("--from", str(directory), f"holds no {name}[.gz]")
