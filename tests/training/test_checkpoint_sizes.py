"""Checkpoints that somebody hands over: small on the disk, and without end in memory."""

import json
import os
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tensorstore as ts

from xception_jax.errors import InputError
from xception_jax.pretrained.arrays import restore_tree, save_tree
from xception_jax.training.checkpoint import Checkpoints, read_state
from xception_jax.training.sharding import make_mesh

GIGABYTE = 1 << 30
STATE = {"kernel": np.ones((3, 4), np.float32), "step": np.asarray(5, np.int32)}
SHAPES: Any = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), STATE)


def zeros_by_zstandard(size: int) -> bytes:
    """A frame of zeros, by hand: four bytes for each block of 128 KiB."""
    block = 1 << 17
    repeated = ((block << 3) | 2).to_bytes(3, "little") + b"\0"
    last = ((block << 3) | 3).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x38" + repeated * (size // block - 1) + last


def zeros_by_zlib(size: int) -> bytes:
    """The same block many times; it takes no longer than to pack one."""
    packer, megabyte = zlib.compressobj(), bytes(1 << 20)
    first, other = (packer.compress(megabyte) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + other * ((size >> 20) - 1) + packer.flush()


def peak() -> int:
    """KiB that this process has held at most since its peak was set back."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


@contextmanager
def little_memory() -> Iterator[None]:
    """Fails if the block holds 300 MB more than before; only Linux can set a peak back."""
    if sys.platform != "linux":
        yield
        return
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is resident now
    before = peak()
    yield
    assert peak() - before < 300_000


def described(chunks: tuple[int, ...], compressor: str = "zstd") -> bytes:
    """What a file of zarr says of the kernel."""
    return json.dumps(
        {
            "zarr_format": 2, "shape": [3, 4], "chunks": chunks, "dtype": "<f4", "order": "C",
            "fill_value": None, "filters": None, "compressor": {"id": compressor, "level": 1},
        }
    ).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("compressor", "packed"),
    [
        ("zstd", zeros_by_zstandard(GIGABYTE)),
        ("zlib", zeros_by_zlib(GIGABYTE)),
    ],
)
def test_tensorstore_unpacks_no_more_of_a_chunk_than_it_should_hold(
    compressor: str, packed: bytes
) -> None:
    """Nothing here bounds that: should a later version do otherwise, this fails."""
    context = ts.Context()
    store = ts.KvStore.open("memory://", context=context).result()
    store.write(".zarray", described((3, 4), compressor)).result()
    store.write("0.0", packed).result()
    spec = {"driver": "zarr", "kvstore": "memory://"}
    array = ts.open(spec, context=context).result()
    with little_memory(), pytest.raises(ValueError, match="End of data expected"):
        array.read().result()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A directory of checkpoints."""
    made = Checkpoints(tmp_path / "kept", keep_last=1, keep_best=0, metric="top1", run="r")
    state: Any = STATE
    made.save(5, state, None, b"")
    made.wait()
    made.close()
    return tmp_path / "kept"


def swell(arrays: Path, kernel: str) -> None:
    """Puts the kernel into a chunk of a gigabyte, a row of which is the kernel."""
    store = ts.KvStore.open({"driver": "ocdbt", "base": f"{arrays.as_uri()}/"}).result()
    store.write(f"{kernel}/.zarray", described((1 << 14, 1 << 14))).result()
    store.write(f"{kernel}/0.0", zeros_by_zstandard(GIGABYTE)).result()


def refused(directory: Path) -> str:
    with little_memory(), pytest.raises(InputError) as caught:
        read_state(directory, SHAPES, make_mesh(jax.devices()[:1]), None)
    return str(caught.value)


@pytest.mark.usefixtures("unchecked_types")
def test_chunks_that_are_larger_than_their_array_are_not_read(kept: Path) -> None:
    restored = read_state(kept, SHAPES, make_mesh(jax.devices()[:1]), None)[1]
    jax.tree.map(np.testing.assert_array_equal, restored, STATE)
    swell(kept / "5" / "default", "kernel")
    assert "kernel, of shape (3, 4), is stored in chunks of (16384, 16384)" in refused(kept)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("_METADATA", "has more than 67,108,864 bytes"),
        ("5/_CHECKPOINT_METADATA", "has more than 67,108,864 bytes"),
        ("5/default/manifest.ocdbt", "has more than 67,108,864 bytes"),
        ("5/default/d/more", "the files beside it have over"),
    ],
)
def test_files_without_content_are_not_read(kept: Path, place: str, named: str) -> None:
    path = kept / place
    path.touch()
    os.truncate(path, 64 * GIGABYTE)  # which takes no space
    text = refused(kept)
    assert str(path) in text
    assert named in text


def test_weights_in_chunks_that_are_larger_than_their_array_are_not_read(tmp_path: Path) -> None:
    tree, shapes = {"parameters": STATE}, {"parameters": SHAPES}
    save_tree(tmp_path / "arrays", tree)
    restored = restore_tree(tmp_path / "arrays", shapes)
    jax.tree.map(np.testing.assert_array_equal, restored, tree)
    swell(tmp_path / "arrays", "parameters.kernel")
    with little_memory(), pytest.raises(ValueError, match="parameters/kernel, of shape"):
        restore_tree(tmp_path / "arrays", shapes)
