"""Tests of decoding and cropping, against Pillow itself and against arithmetic by hand."""

import io
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.fabricate import encode
from xception_jax.data.budget import Budget
from xception_jax.data.images import (
    CROP_DRAWS,
    CorruptImage,
    central_crop,
    decode,
    decode_and,
    random_resized_crop,
)


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


def tiff(samples: np.ndarray, bits: int, photometric: int, compression: int) -> bytes:
    """The TIFF file of grey samples [height, width], by the format's definition."""
    height, width = samples.shape
    if bits == 12:  # the highest bit first; rows end with a byte
        rows = ["".join(f"{sample:012b}" for sample in row) for row in samples]
        padded = "".join(row + "0" * (-len(row) % 8) for row in rows)
        data = int(padded, 2).to_bytes(len(padded) // 8, "big")
    else:
        data = samples.astype("<u2").tobytes()
    data = zlib.compress(data) if compression == 8 else data
    tags = {256: width, 257: height, 258: bits, 259: compression, 262: photometric}
    tags |= {273: 8, 277: 1, 278: height, 279: len(data)}
    data += b"\0" * (len(data) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    return start + data + struct.pack("<H", len(tags)) + entries + bytes(4)


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


def png(samples: np.ndarray, color_type: int, bits: int = 16, **chunks: bytes) -> bytes:
    """The PNG file of samples [height, width, channels] with a number of bits each."""
    height, width, _ = samples.shape
    rows = b""
    for row in samples.reshape(height, -1):
        digits = "".join(f"{sample:0{bits}b}" for sample in row)
        digits += "0" * (-len(digits) % 8)  # rows end with a byte
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    parts = {"IHDR": header, **chunks, "IDAT": zlib.compress(rows), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + (named := name.encode() + body)
        + struct.pack(">I", zlib.crc32(named))
        for name, body in parts.items()
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_declared_colour_is_transparent_at_every_depth(
    rng: np.random.Generator, bits: int
) -> None:
    """A grey sample is transparent, by the standard, if it equals the one in tRNS."""
    samples, clear = rng.integers(0, 2**bits, (5, 7, 1)), 1
    samples[2, 3] = clear
    content = png(samples, 0, bits, tRNS=struct.pack(">H", clear))
    scaled = samples >> 8 if bits == 16 else samples * (255 // (2**bits - 1))
    expected = np.where(samples == clear, 255, scaled)
    np.testing.assert_array_equal(np.asarray(decode(content, 1, "x")), expected[..., 0])
    expected = np.repeat(expected, 3, axis=-1)
    np.testing.assert_array_equal(np.asarray(decode(content, 3, "x")), expected)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_pixel_is_transparent_if_all_of_its_bits_are_declared(
    rng: np.random.Generator, bits: int
) -> None:
    """A colour is transparent, and its neighbours, which differ in one bit each, can be seen."""
    colour = rng.integers(0, 2**bits, 3)
    flips = [np.eye(3, dtype=int)[channel] << bit for channel in range(3) for bit in range(bits)]
    samples = np.array([colour, *(colour ^ flip for flip in flips)])[None]
    content = png(samples, 2, bits, tRNS=struct.pack(">3H", *colour))
    expected = samples >> (bits - 8)
    expected[0, 0] = 255
    np.testing.assert_array_equal(np.asarray(decode(content, 3, "x")), expected)


def test_an_image_with_a_declared_colour_of_sixteen_bits_is_turned(
    rng: np.random.Generator,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    samples = rng.integers(0, 2**16, (3, 2, 3))
    declared = struct.pack(">3H", *samples[0, 0])
    content = png(samples, 2, tRNS=declared, eXIf=exif.tobytes()[6:])
    expected = samples >> 8
    expected[0, 0] = 255
    turned = decode(content, 3, "x")
    np.testing.assert_array_equal(np.asarray(turned), np.rot90(expected, -1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "RGB", "GIF", "WEBP", "TIFF"])
def test_what_is_transparent_is_white(kind: str, channels: int) -> None:
    """One pixel cannot be seen, one is half there where the mode knows halves, one is opaque."""
    color, alpha = np.array([[80, 80, 80]] * 3), np.array([0, 128, 255])
    pixels = np.concatenate([color, alpha[:, None]], 1).astype(np.uint8)[None]
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if kind in ("P", "RGB", "GIF"):
        alpha = np.array([0, 255, 255])
        solid = Image.fromarray(np.array([[[9, 9, 9], [80, 80, 80], [80, 80, 80]]], np.uint8))
        if kind == "RGB":
            solid.save(buffer, "PNG", transparency=(9, 9, 9))
        else:
            palette = solid.quantize(2, dither=Image.Dither.NONE)
            clear = int(np.asarray(palette)[0, 0])
            palette.save(buffer, "GIF" if kind == "GIF" else "PNG", transparency=clear)
    elif kind in ("WEBP", "TIFF"):
        image.save(buffer, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    else:
        image.convert(kind).save(buffer, "PNG")
    decoded = np.asarray(decode(buffer.getvalue(), channels, "x"))
    expected = alpha / 255 * 80 + (1 - alpha / 255) * 255
    # Half a unit, and half of one again, from rounding to uint8 and from grey to RGB and back.
    np.testing.assert_allclose(decoded.reshape(3, channels), np.c_[[expected] * channels].T, atol=1)
    assert decoded.reshape(3, channels)[0].tolist() == [255] * channels


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


def test_images_of_all_threads_share_a_budget(rng: np.random.Generator) -> None:
    """Images larger than the budget are decoded and used one at a time, small ones meanwhile."""
    budget, most, lock, active = Budget(100), [0], threading.Lock(), []

    def work(amount: int) -> None:
        with budget.taking(amount):
            with lock:
                active.append(amount)
                most[0] = max(most[0], sum(min(each, 100) for each in active))
            time.sleep(0.001)
            with lock:
                active.remove(amount)

    amounts = [int(amount) for amount in rng.choice([1, 30, 70, 500], 60)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, amounts))
    assert 0 < most[0] <= 100
    with pytest.raises(ZeroDivisionError), budget.taking(100):
        _ = 1 / 0
    with budget.taking(100):  # given back
        pass


def test_an_image_is_used_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    class Noting(Budget):
        @contextmanager
        def taking(self, amount: int) -> Iterator[None]:
            taken.append(amount)
            yield
            taken.append(-amount)

    monkeypatch.setattr("xception_jax.data.images._budget", Noting(1))
    content = encode(np.zeros((20, 30, 3), np.uint8))
    assert decode_and(lambda image: (image.size, list(taken)), content, 3, "x") == (
        (30, 20),
        [20 * 30 * 11],
    )
    assert sum(taken) == 0


def test_a_file_that_is_no_image_is_named_and_no_object_of_python(tmp_path: Path) -> None:
    (path := tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(CorruptImage, match=r"^a\.jpg cannot be decoded: .*image file it$"):
        decode(path, 3, "a.jpg")


def test_central_crop_takes_the_centre(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (16, 32, 3), np.uint8)
    image = Image.fromarray(pixels)
    np.testing.assert_array_equal(central_crop(image, 16, 1.0), pixels[:, 8:24])
    np.testing.assert_array_equal(central_crop(image, 14, 0.875), pixels[1:15, 9:23])
    # At half the size every pixel is a mean by the antialiasing filter, so the overall mean stays.
    small = central_crop(image, 8, 1.0)
    assert small.shape == (8, 8, 3)
    assert abs(small.mean() - pixels[:, 8:24].mean()) < 4


def test_random_resized_crop_covers_what_it_should(rng: np.random.Generator) -> None:
    """In a ramp image, pixel values show where each crop was cut and whether it was flipped."""
    width, height = 240, 180
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.arange(width)[None, :]
    ramp[..., 1] = np.arange(height)[:, None]
    image = Image.fromarray(ramp)
    areas, aspects, flips = [], [], []
    for _ in range(400):
        out = random_resized_crop(image, 32, rng.random(CROP_DRAWS)).astype(float)
        assert out.shape == (32, 32, 3)
        # 31 of the 32 pixels lie between the first and the last centre.
        crop_width = abs(out[16, -1, 0] - out[16, 0, 0]) * 32 / 31
        crop_height = (out[-1, 16, 1] - out[0, 16, 1]) * 32 / 31
        areas.append(crop_width * crop_height / (width * height))
        aspects.append(crop_width / crop_height)
        flips.append(out[16, -1, 0] < out[16, 0, 0])
    assert 0.06 < min(areas) < 0.15
    assert 0.75 < max(areas) < 1.05
    assert 0.70 < min(aspects) < 0.85
    assert 1.2 < max(aspects) < 1.42
    assert 0.35 < np.mean(flips) < 0.65


def test_random_resized_crop_of_an_extreme_shape() -> None:
    """No drawn crop fits into a thin strip, so its central square is used."""
    strip = np.zeros((4, 400, 3), np.uint8)
    strip[:, 198:202] = 200
    draws = np.full(CROP_DRAWS, 0.999)
    draws[-3:-1] = 0.5
    assert random_resized_crop(Image.fromarray(strip), 4, draws).min() == 200
