"""Readers of images and published archives under random input: a value, or an error of theirs."""

import io
from typing import Any

import numpy as np
import scipy.io
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tests.data.contents import decode
from tests.data.fabricate_archives import tar, zipped
from tests.fuzzing import damage, damages, fuzzed
from xception_jax.data.images import CorruptImage
from xception_jax.data.importing.archives import members
from xception_jax.data.importing.pickled import read_pickle
from xception_jax.data.importing.svhn import _read as read_mat
from xception_jax.errors import InputError

CUT = st.none() | st.integers(1, 4096)


def images() -> dict[str, bytes]:
    """A small image of each kind, each with EXIF where its format has it."""
    pixels = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a photo"
    made = {}
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "TGA", "ICO", "PCX", "SGI"):
        more: dict[str, Any] = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
        buffer = io.BytesIO()
        image = Image.fromarray(pixels).convert("P" if kind == "GIF" else "RGB")
        image.save(buffer, kind, **more)
        made[kind] = buffer.getvalue()
    return made


IMAGES = images()


def assert_decoded(content: bytes, channels: int) -> None:
    try:
        assert decode(content, channels, "a name").mode == ("L" if channels == 1 else "RGB")
    except CorruptImage as error:
        assert str(error).startswith("a name cannot be decoded: ")
        assert " object at 0x" not in str(error)


@fuzzed
@given(
    kind=st.sampled_from(sorted(IMAGES)),
    changes=damages(),
    cut=CUT,
    channels=st.sampled_from([1, 3]),
)
def test_images(kind, changes, cut, channels):
    assert_decoded(damage(IMAGES[kind], changes, cut), channels)


@fuzzed
@given(exif=st.binary(max_size=80), start=st.sampled_from([b"Exif\0\0II*\0\x08\0\0\0", b"", b"MM"]))
def test_exif(exif, start):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, "JPEG", exif=start + exif)
    assert sorted(decode(buffer.getvalue(), 3, "a name").size) == [2, 3]


# -- published archives ----------------------------------------------------------------------------

FILES = {"a/b.txt": b"one\n" * 300, "a/c.bin": bytes(range(256)) * 5, "d": b""}
ARCHIVES = {
    "tar": tar(FILES),
    "tar.gz": tar(FILES, "gz"),
    "tar.bz2": tar(FILES, "bz2"),
    "tar.xz": tar(FILES, "xz"),
    "zip": zipped(FILES),
}


@fuzzed
@given(kind=st.sampled_from(sorted(ARCHIVES)), changes=damages(), cut=CUT)
def test_archives(kind, changes, cut, tmp_path):
    (path := tmp_path / f"a.{kind}").write_bytes(damage(ARCHIVES[kind], changes, cut))
    try:
        for member in members(path):
            assert not member.name.startswith("/")
            assert ".." not in member.name.split("/")
            member.read()
    except InputError as error:
        assert "\n" not in str(error)


PARTS = st.sampled_from(
    [
        *(bytes([code]) for code in b"(.01245FIJKLMNPQRSTUVXabcdeghijlopqrstu}~"),
        *(bytes([code]) for code in b"\x80\x81\x85\x86\x87\x88\x89\x93\x94"),
        *(b"\x8a\x01\x05", b"\x8c\x01a", b"\x95" + bytes(8)),
        *(b"]", b")", b"K\x01", b"h\0", b"q\0", b"U\x01a", b"X\x01\0\0\0a", b"B\x04\0\0\0abcd"),
        b"cnumpy\ndtype\n",
        b"cnumpy.core.multiarray\n_reconstruct\n",
        b"cnumpy.core.multiarray\nscalar\n",
        b"c_codecs\nencode\n",
        b"cos\nsystem\n",
        b"X\x02\0\0\0u1",
        b"X\x06\0\0\0latin1",
    ]
)


# A value that holds another 2^60 times: every tuple holds the one before it twice.
TREE = b"K\x01q\x07" + b"h\x07h\x07\x86q\x07" * 60


@example(parts=[TREE, b"K\x01"])  # as a key, of which the hash is asked for
@example(parts=[TREE, b"cnumpy\ndtype\n", b"h\x07\x85R"])  # as text of an error
@example(parts=[TREE, b"K\x01", b"h\x07h\x07\x93"])
@example(parts=[b"(" * 100_000, b"t" * 100_000])
@fuzzed
@given(parts=st.lists(PARTS, max_size=30))
def test_pickles(parts):
    try:
        content = read_pickle(b"\x80\x02}(" + b"".join(parts) + b"u.")
    except ValueError:
        return
    assert all(isinstance(key, str) for key in content)


def mat(compressed: bool) -> bytes:
    buffer = io.BytesIO()
    content = {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [10]], np.uint8)}
    scipy.io.savemat(buffer, content, do_compression=compressed)
    return buffer.getvalue()


MATS = {True: mat(True), False: mat(False)}


@fuzzed
@given(compressed=st.booleans(), changes=damages(), cut=CUT)
def test_mat(compressed, changes, cut, tmp_path):
    (path := tmp_path / "a.mat").write_bytes(damage(MATS[compressed], changes, cut))
    try:
        images, labels = read_mat(path)
        assert images.shape == (len(labels), 32, 32, 3)
    except InputError as error:
        assert "a.mat" in str(error)
