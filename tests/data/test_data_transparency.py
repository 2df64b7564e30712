"""Transparent pixels of images: white, and told from opaque ones at every depth."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tests.data.contents import decode
from tests.data.fabricate import png


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
