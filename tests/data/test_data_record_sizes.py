"""The sizes of records against those that were written with array_record itself."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from hypothesis import given
from hypothesis import strategies as st

from tests.data.strange_sets import TWO_OF_EACH, store, two_of_each
from tests.fuzzing import damage, damages, fuzzed
from xception_jax.data import load
from xception_jax.data.record_sizes import require_no_growth, unpacked_size
from xception_jax.data.tfds_records import TfdsRecords
from xception_jax.errors import InputError

_FOOTER = 1 << 17  # bytes, of the index at the end of a file


def write(path: Path, records: list[bytes], options: str = "group_size:1") -> Path:
    writer = ArrayRecordWriter(str(path), options)
    for record in records:
        writer.write(record)
    writer.close()
    return path


def size_of(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return unpacked_size(descriptor, path.stat().st_size)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "options", ["group_size:1", "group_size:7", "group_size:1,uncompressed", "group_size:3,brotli"]
)
def test_sizes_are_those_of_the_records(options, rng, tmp_path):
    """Records of all lengths up to several blocks, so that headers lie across their borders."""
    lengths = [0, 1, *rng.integers(0, 1000, 200), *rng.integers(0, 200_000, 30)]
    records = [rng.integers(0, 256, length, np.uint8).tobytes() for length in lengths]
    path = write(tmp_path / "a.array_record", records, options)
    expected = sum(map(len, records))
    assert expected <= size_of(path) < expected + _FOOTER
    require_no_growth(path)


def test_a_file_that_unpacks_to_gigabytes_is_refused_unread(tmp_path):
    path = write(tmp_path / "a.array_record", [bytes(50_000_000)] * 2)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ValueError, match="unpacks to more than 20 times"):
        require_no_growth(path)


def test_a_prepared_set_that_unpacks_to_gigabytes_is_named(tmp_path, monkeypatch):
    root = store(tmp_path, {"train": two_of_each(6)}, TWO_OF_EACH, ("front", "species"))
    (path,) = tmp_path.rglob("*.array_record*")
    write(path, [bytes(20_000_000)] * 6)
    monkeypatch.setattr(TfdsRecords, "read", lambda *_: pytest.fail("a record was read"))
    with pytest.raises(InputError, match=r"strange.*damaged.*unpacks to more than 20 times"):
        load("strange", directory=root)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    records = [bytes(range(200))] * 20
    return write(tmp_path_factory.mktemp("small") / "a.array_record", records).read_bytes()


@fuzzed
@given(changes=damages(), cut=st.none() | st.integers(1, 4096))
def test_damage_raises_value_errors_alone(changes, cut, small, tmp_path):
    (path := tmp_path / "a.array_record").write_bytes(damage(small, changes, cut))
    with contextlib.suppress(ValueError):
        require_no_growth(path)
