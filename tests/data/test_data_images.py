"""Decoding images of every mode and orientation, against Pillow and arithmetic by hand."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.contents import decode
from tests.data.fabricate import encode, png, tiff
from xception_jax.data.images import CorruptImage, central_crop


@pytest.mark.parametrize(
    ("mode", "kind"),
    [(mode, "PNG") for mode in ("RGB", "RGBA", "L", "LA", "P", "1")]
    + [(mode, "JPEG") for mode in ("CMYK", "L")],
)
def test_every_mode_becomes_rgb(rng: np.random.Generator, mode: str, kind: str) -> None:
    content = encode(rng.integers(0, 256, (6, 5, 3), np.uint8), kind, mode)
    image = decode(content, 3, "x")
    assert image.mode == "RGB"
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(image), expected)
    assert decode(content, 1, "x").mode == "L"


def test_sixteen_bit_grey_is_scaled() -> None:
    grey = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    image = np.asarray(decode(encode(grey), 1, "x"))
    np.testing.assert_array_equal(image, [[0, 0, 1], [128, 255, 255]])


def test_sixteen_bits_of_every_format_keep_the_upper_eight() -> None:
    """PNG files of 16 bits are written here by the format's definition, as Pillow writes none."""
    values = np.array([[0, 255, 256], [32768, 65279, 65535]], np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        np.testing.assert_array_equal(np.asarray(decode(encode(values, kind), 1, "x")), values >> 8)
    color = np.stack([values, values[:, ::-1], values[::-1]], -1)
    np.testing.assert_array_equal(np.asarray(decode(png(color, 2), 3, "x")), color >> 8)
    opaque = np.stack([values, np.full_like(values, 65535)], -1)
    np.testing.assert_array_equal(np.asarray(decode(png(opaque, 4), 1, "x")), values >> 8)
    declared = png(values[..., None], 0, tRNS=struct.pack(">H", 256))  # 256 is transparent
    np.testing.assert_array_equal(
        np.asarray(decode(declared, 1, "x")), [[0, 0, 255], [128, 254, 255]]
    )


@pytest.mark.parametrize("compression", [1, 8], ids=["plain", "deflate"])
@pytest.mark.parametrize(("bits", "photometric"), [(12, 1), (16, 0), (16, 1)])
def test_grey_of_a_tiff_is_scaled_by_its_bits_and_zero_is_what_it_says(
    rng: np.random.Generator, bits: int, photometric: int, compression: int
) -> None:
    samples = rng.integers(0, 2**bits, (5, 8))
    samples[0, :2] = 0, 2**bits - 1
    shown = samples if photometric else 2**bits - 1 - samples
    content = tiff(samples, bits, photometric, compression)
    grey = np.asarray(decode(content, 1, "x"))
    np.testing.assert_array_equal(grey, shown >> (bits - 8))


def test_cmyk_one_bit_and_32_bits() -> None:
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 100, 200, 50]]], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(inks, "CMYK").save(buffer, "TIFF")
    white = 255.0 - inks
    expected = white[..., :3] * white[..., 3:] / 255
    # Pixels are whole numbers, rounded or cut.
    np.testing.assert_allclose(np.asarray(decode(buffer.getvalue(), 3, "x")), expected, atol=1)
    bits = np.array([[True, False]])
    np.testing.assert_array_equal(np.asarray(decode(encode(bits), 1, "x")), [[255, 0]])
    for values in (np.array([[1 << 20]], np.int32), np.array([[0.5]], np.float32)):
        with pytest.raises(CorruptImage, match="its pixels have 32 bits"):
            decode(encode(values, "TIFF"), 1, "x")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_several_frames_the_first_counts(kind: str) -> None:
    frames = [Image.new("RGB", (4, 3), color) for color in ("red", "blue", "lime")]
    buffer = io.BytesIO()
    options: dict = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], **options)
    pixels = np.asarray(decode(buffer.getvalue(), 3, "x"))
    np.testing.assert_array_equal(pixels, np.full((3, 4, 3), [255, 0, 0], np.uint8))


# What EXIF's table of the tag says: the row and column of the scene that lie at (0, 0).
STORED = {
    1: lambda scene: scene,
    2: lambda scene: scene[:, ::-1],
    3: lambda scene: scene[::-1, ::-1],
    4: lambda scene: scene[::-1],
    5: lambda scene: scene.swapaxes(0, 1),
    6: lambda scene: scene.swapaxes(0, 1)[::-1],
    7: lambda scene: scene[::-1, ::-1].swapaxes(0, 1),
    8: lambda scene: scene.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", list(STORED))
def test_every_orientation_is_turned_upright(
    rng: np.random.Generator, orientation: int, kind: str
) -> None:
    scene = rng.integers(0, 256, (4, 6, 3), np.uint8)
    stored = np.ascontiguousarray(STORED[orientation](scene))
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    options: dict = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(stored).save(buffer, kind, exif=exif, **options)
    content = buffer.getvalue()
    np.testing.assert_array_equal(np.asarray(decode(content, 3, "x")), scene)
    as_stored = np.asarray(decode(content, 3, "x", upright=False))
    np.testing.assert_array_equal(as_stored, scene if kind == "TIFF" else stored)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"garbage", b""])
def test_damaged_exif_leaves_the_image_as_it_is(rng: np.random.Generator, exif: bytes) -> None:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8)).save(buffer, "JPEG", exif=exif)
    with Image.open(buffer) as image:
        expected = np.asarray(image)
    np.testing.assert_array_equal(np.asarray(decode(buffer.getvalue(), 3, "x")), expected)


def test_pixels_that_are_no_file_pass_through(rng: np.random.Generator) -> None:
    for channels in (1, 3):
        pixels = rng.integers(0, 256, (4, 4, channels), np.uint8)
        image = decode(pixels, channels, "x")
        np.testing.assert_array_equal(central_crop(image, 4, 1.0), pixels)


def test_damaged_files_are_named(rng: np.random.Generator) -> None:
    png = encode(rng.integers(0, 256, (40, 40, 3), np.uint8))
    jpeg = encode(rng.integers(0, 256, (40, 40, 3), np.uint8), "JPEG")
    header = struct.pack(">IIBBBBB", 10**5, 10**5, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = png[:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    for content in (b"", b"no image", png[:200], jpeg[: len(jpeg) // 2], png[:-30], bomb):
        with pytest.raises(CorruptImage, match=r"^train\[3\] cannot be decoded: \w+"):
            decode(content, 3, "train[3]")


def test_a_program_in_postscript_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow starts Ghostscript for it, whatever the name of the file."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "EPS")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_: pytest.fail("it was run"))
    with pytest.raises(CorruptImage, match="PostScript, which is not run"):
        decode(buffer.getvalue(), 3, "a.jpg")


def test_a_file_that_is_no_image_is_named_and_no_object_of_python(tmp_path: Path) -> None:
    (path := tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(CorruptImage, match=r"^a\.jpg cannot be decoded: .*image file it$"):
        decode(path, 3, "a.jpg")
