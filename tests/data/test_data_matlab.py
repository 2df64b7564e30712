"""Our reader of MATLAB files against SciPy's, on files that SciPy wrote, whole and damaged."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import scipy.io

from tests.data import fabricate_archives as fabricate
from tests.data.refusal import refusal
from xception_jax.data.importing.matlab import read_arrays

MOST = 1 << 20
KINDS = (
    *(np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64),
    *(np.float32, np.float64),
)


def saved(content: dict[str, Any], *, compressed: bool) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, content, do_compression=compressed)
    return buffer.getvalue()


def numbers(rng: np.random.Generator, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers of a type; whole ones come from all of its range."""
    if np.issubdtype(kind, np.floating):
        return rng.standard_normal(shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, kind, endpoint=True)


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_those_that_scipy_reads(compressed, rng):
    content = {
        f"{'x' * length}{np.dtype(kind).name}": numbers(rng, kind, shape)
        for kind in KINDS
        for length, shape in ((1, (1, 1)), (4, (3, 1)), (9, (2, 3)), (20, (3, 2, 5, 4)))
    }
    file = saved(content, compressed=compressed)
    theirs = scipy.io.loadmat(io.BytesIO(file))
    ours = read_arrays(file, MOST)
    assert ours.keys() == content.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], strict=True)


def test_what_is_no_real_array_is_refused():
    for value in (np.array([1j]), np.array(["text"]), np.array([{"a": 1}]), {"a": 1}):
        with pytest.raises(ValueError, match="else than real numbers"):
            read_arrays(saved({"x": value}, compressed=False), MOST)


@pytest.mark.parametrize("size", [1 << 10, (1 << 32) - 1])
def test_a_size_that_is_only_declared_is_refused(size):
    """Also of the values alone, inside of an array that is as large as it says."""
    file = bytearray(saved({"x": np.zeros((8, 8), np.uint8)}, compressed=False))
    values = len(file) - 64 - 8
    assert struct.unpack_from("<II", file, values) == (2, 64)
    for place in (values, 128):
        changed = bytearray(file)
        struct.pack_into("<I", changed, place + 4, size)
        with pytest.raises(ValueError, match="larger than what there is"):
            read_arrays(bytes(changed), MOST)


def test_an_array_that_unpacks_to_too_much_is_refused():
    file = saved({"x": np.zeros(MOST + 1, np.uint8)}, compressed=True)
    with pytest.raises(ValueError, match="unpacks to more than"):
        read_arrays(file, MOST)
    packed = zlib.compress(bytes(100))
    with pytest.raises(ValueError, match="kind 0"):
        read_arrays(file[:128] + struct.pack("<II", 15, len(packed)) + packed, MOST)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda mat: mat[: len(mat) // 2], "larger than what there is"),
        (lambda mat: b"", "has no header of version 5"),
        (lambda mat: b"no mat" * 40, "has no header of version 5"),
    ],
)
def test_damaged_mat_files_are_named(change, said, tmp_path, rng):
    path = tmp_path / "in"
    path.mkdir()
    fabricate.svhn(path, rng)
    file = path / "train_32x32.mat"
    file.write_bytes(change(file.read_bytes()))
    assert said in refusal("svhn_cropped", path)
