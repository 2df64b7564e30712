"""Importing the cropped digits of SVHN, from their MATLAB files."""

from pathlib import Path

import numpy as np

from xception_jax.data.importing.archives import FIELD, readable
from xception_jax.data.importing.matlab import read_arrays
from xception_jax.data.importing.published import Report, check
from xception_jax.errors import InputError, refused
from xception_jax.regular_files import MAX_BYTES, read_regular

CLASS_NAMES = tuple("0123456789")
_SPLITS = {"train": "train_32x32.mat", "test": "test_32x32.mat", "extra": "extra_32x32.mat"}
_OPTIONAL = "extra"


def read_svhn(
    path: Path, report: Report, note: Report
) -> tuple[tuple[str, ...], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Reads `train_32x32.mat`, `test_32x32.mat` and, where it is there, `extra_32x32.mat`.

    Args:
        path: the folder that holds them.
        report: gets the progress, as text.
        note: gets a sentence that people should read.

    Returns:
        The class names, and of "train", "test" and perhaps "extra" the images, uint8
        [n, 32, 32, 3], and the labels, int64 [n], where SVHN's 10 has become 0.

    Raises:
        InputError: a file is missing or damaged.
    """
    splits = {}
    for split, file in _SPLITS.items():
        if not (path / file).is_file():
            if split == _OPTIONAL:
                continue
            raise InputError(FIELD, str(path), f"holds no {file}")
        check("svhn_cropped", path / file, report, note)
        report(f"reading {file}")
        splits[split] = _read(path / file)
    return CLASS_NAMES, splits


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with readable(path):  # "extra" has 1.3 GB, and unpacks to 1.6
        content = read_regular(path, 2 * MAX_BYTES)
    with refused(FIELD, str(path), "is no MATLAB file of SVHN's digits"):
        arrays = read_arrays(content, 2 * MAX_BYTES)
        del content
        images, labels = arrays["X"], arrays["y"].ravel()
        count = images.shape[-1]
        if images.shape != (32, 32, 3, count) or images.dtype != np.uint8:
            raise ValueError(f"X is {images.dtype} {images.shape}, not uint8 (32, 32, 3, n)")
        if len(labels) != count or not count:
            raise ValueError(f"{count} images have {len(labels)} labels")
        if not np.isin(labels, range(1, 11)).all():
            raise ValueError("its labels are not all from 1 to 10")
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels.astype(np.int64) % 10
