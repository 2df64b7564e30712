"""Reading the idx format of MNIST and its relatives: a big-endian header, then unsigned bytes."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from xception_jax.errors import InputError
from xception_jax.regular_files import read_regular

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> np.ndarray:
    """Reads the array in an idx file of unsigned bytes, compressed with gzip or not.

    Returns:
        An array of dtype uint8 with the shape given in the header.

    Raises:
        InputError: the file is missing, is not an idx file of unsigned bytes, or is truncated.
    """
    try:
        content = read_regular(path)
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError("file", str(path), f"cannot be read: {error}") from error
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise InputError("file", str(path), "is no idx file of unsigned bytes")
    rank = content[3]
    header = 4 + 4 * rank
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4"))
    if len(shape) != rank or len(content) != header + math.prod(shape):
        size = len(content) - header
        raise InputError("file", str(path), f"holds {size} bytes of data for the shape {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_labelled_images(directory: Path, stem: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads `<stem>-images-idx3-ubyte[.gz]` and `<stem>-labels-idx1-ubyte[.gz]`.

    Returns:
        The images, uint8 [n, height, width, 1], and the labels, int32 [n].

    Raises:
        InputError: a file is missing or damaged, or the files do not belong together.
    """
    images = read_idx(_existing_file(directory / f"{stem}-images-idx3-ubyte"))
    labels = read_idx(_existing_file(directory / f"{stem}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        reason = f"{stem} images {images.shape} and labels {labels.shape} do not belong together"
        raise InputError("from_directory", str(directory), reason)
    return images[..., np.newaxis], labels.astype(np.int32)


def _existing_file(path: Path) -> Path:
    for candidate in (path.with_name(f"{path.name}.gz"), path):
        if candidate.is_file():
            return candidate
    raise InputError("from_directory", str(path.parent), f"holds no {path.name}[.gz]")
