"""Decoding images and cropping them to uint8 arrays of one size, with Pillow.

Pillow is used rather than OpenCV because it is small, TFDS needs it anyway, and its resizing
filters antialias.
"""

import errno
import io
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from xception_jax.data.budget import Budget
from xception_jax.regular_files import MAX_BYTES, open_for_reading

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

Encoded = bytes | np.ndarray | Path
Box = tuple[float, float, float, float]
T = TypeVar("T")

# Ranges of Inception's training augmentation: share of the image's area, and width over height.
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_ATTEMPTS = 10
CROP_DRAWS = 2 * _ATTEMPTS + 3


# What turns an image upright, by the value of EXIF's tag Orientation.
_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
# Pillow's names of how PNG files store grey with 2 and 4 bits, and colour with 16.
_LARGEST_GREY = {"L;2": 3, "L;4": 15}
_COLOUR_16 = "RGB;16B"
# Tags of TIFF that say how many bits grey has, and whether zero is white.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_OBJECT = re.compile(r"<\S+ (object at 0x[0-9a-f]+|name=\d+)>")
_BYTES_PER_PIXEL = 11  # of an image with alpha: as it is read, on its background, and as RGB
_budget = Budget(4 << 30)  # bytes, of the images that all threads decode at a time


class CorruptImage(Exception):
    """Raised for an example whose image cannot be decoded.

    Attributes:
        name: path of the file, or split and index of the record.
        reason: the decoder's error.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name} cannot be decoded: {reason}")


def decode_and(
    use: Callable[["Image.Image"], T],
    encoded: Encoded,
    channels: int,
    name: str,
    *,
    upright: bool = True,
) -> T:
    """Returns what a function makes of an image, decoded to mode L (`channels` 1) or RGB (3).

    It waits while the images that other threads decode and use take too much memory together.
    Whatever mode the image is stored in:

    * What is transparent shows a white background, in every mode that can be: RGBA, LA, palettes
      and colours that a PNG or GIF declares transparent.
    * Of 12 or 16 bits per channel, grey or colour, the upper eight count: 65535 becomes 255. Grey
      of a TIFF file whose zero is white is inverted.
    * CMYK becomes RGB by (255 - C) (255 - K) / 255; colour profiles are not applied.
    * One bit becomes 0 or 255. Grey is 0.299 R + 0.587 G + 0.114 B.
    * Of several frames or pages the first counts.

    Args:
        use: function of the image, which it should not keep.
        encoded: path or content of an image file, or pixels uint8 [height, width, channels].
        channels: 1 or 3.
        name: name of the image in error messages.
        upright: whether to turn the image as EXIF's Orientation says. Pillow turns TIFF files in
            any case.

    Raises:
        CorruptImage: the image cannot be read, is incomplete, has a format unknown to Pillow, is a
            PostScript program, or has pixels of 32 bits, whose range no file states.
    """
    from PIL import Image

    mode = "L" if channels == 1 else "RGB"
    if isinstance(encoded, np.ndarray):
        pixels = encoded[..., 0] if encoded.shape[-1] == 1 else encoded
        return use(Image.fromarray(pixels).convert(mode))
    with _corrupt_as(name):
        file = _open(encoded)
    with file:
        with _corrupt_as(name):
            opened = Image.open(file)
            if opened.format == "EPS":  # for which Pillow would start Ghostscript
                raise ValueError("it is a program in PostScript, which is not run")
        with _budget.taking(opened.width * opened.height * _BYTES_PER_PIXEL):
            with _corrupt_as(name):
                image = _converted(opened, mode, upright=upright)
            return use(image)


@contextmanager
def _corrupt_as(name: str) -> Iterator[None]:
    """Raises any error as a `CorruptImage` of this name.

    A damaged file can raise nearly anything in Pillow's parsers (SyntaxError, struct.error,
    zlib.error, DecompressionBombError, …). Whatever it is, the image is unusable.
    """
    try:
        yield
    except Exception as error:
        message = _OBJECT.sub("it", f"{type(error).__name__}: {error}")
        raise CorruptImage(name, message) from error


def _open(encoded: bytes | Path) -> io.BytesIO | io.BufferedReader:
    if not isinstance(encoded, Path):
        return io.BytesIO(encoded)
    file = open_for_reading(encoded)
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        file.close()
        raise OSError(errno.EFBIG, f"has more than {MAX_BYTES:,} bytes", str(encoded))
    return file


def _converted(opened: "ImageFile", mode: str, *, upright: bool) -> "Image.Image":
    """Reads the pixels of an open image and converts them to mode L or RGB; see `decode_and`."""
    from PIL import Image

    # How a PNG file stores its pixels, which the image forgets once they are read.
    stored = str(opened.tile[0].args) if opened.format == "PNG" and opened.tile else ""
    is_wide = stored == _COLOUR_16 and "transparency" in opened.info
    lower = _lower_bytes(opened) if is_wide else None
    opened.load()
    turn = _TURNS.get(_orientation(opened)) if upright else None
    image = _of_eight_bits(opened, _LARGEST_GREY.get(stored), lower)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        background.alpha_composite(image)
        image = background
    image = image if image.mode == mode else image.convert(mode)
    return image if turn is None else image.transpose(Image.Transpose[turn])


def _orientation(image: "Image.Image") -> int:
    """The value of EXIF's Orientation; 1, upright, where there is none or EXIF is damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # any, as in `_corrupt_as`; the pixels of such a file are sound
        return 1


def _lower_bytes(opened: "ImageFile") -> np.ndarray:
    """The lower eight bits of an open PNG file with 16 bits per colour, uint8 [height, width, 3].

    Pillow reads the upper ones, or these if it is told that they come first.
    """
    from PIL import Image

    if opened.fp is None:
        raise ValueError("its pixels have been read")
    opened.fp.seek(0)
    swapped = Image.open(opened.fp)
    swapped.tile = [tile._replace(args="RGB;16L") for tile in swapped.tile]
    return np.asarray(swapped)


def _of_eight_bits(
    image: "Image.Image", largest_grey: int | None, lower: np.ndarray | None
) -> "Image.Image":
    """Returns an image with 8 bits per channel or fewer; Pillow clips 16-bit grey to 255.

    Pillow scales the pixels of a PNG file to 8 bits, but not the colour that it declares
    transparent. As the standard asks, all 16 bits of a pixel count in the comparison with it.

    Args:
        image: the image, with its pixels.
        largest_grey: of a PNG file with 2 or 4 bits of grey, their largest value.
        lower: see `_lower_bytes`; None where only the upper ones count.

    Raises:
        ValueError: the pixels have 32 bits.
    """
    from PIL import Image

    # Of 16-bit PGM files, and only those, Pillow gives 32-bit integers up to 65535.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        values = np.asarray(image)
        tags: Any = getattr(image, "tag_v2", {})  # of a TIFF file, which Pillow does not scale
        (bits,) = tags.get(_BITS_PER_SAMPLE, (16,))
        grey = (values >> (bits - 8)).astype(np.uint8)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            grey = 255 - grey
        if "transparency" in image.info:
            grey[values == image.info["transparency"]] = 255
        return Image.fromarray(grey)
    declared: Any = image.info.get("transparency")
    if lower is not None:
        pixels = np.array(image)
        clear = np.ones(pixels.shape[:2], bool)
        for channel, value in enumerate(declared):
            clear &= pixels[..., channel] == value >> 8
            clear &= lower[..., channel] == value & 255
        pixels[clear] = 255
        return Image.fromarray(pixels)
    if largest_grey is not None and isinstance(declared, int):
        image.info["transparency"] = (declared & largest_grey) * (255 // largest_grey)
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, and no file states their range")
    return image


def central_crop(image: "Image.Image", size: int, fraction: float) -> np.ndarray:
    """Crops the centre, a square of `fraction` times the shorter side, and resizes it to `size`.

    This equals resizing the shorter side to `size / fraction` and then cropping the centre.

    Returns:
        The pixels, uint8 [size, size, channels].
    """
    side = fraction * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return _resized(image, size, (left, top, left + side, top + side))


def random_resized_crop(image: "Image.Image", size: int, draws: np.ndarray) -> np.ndarray:
    """Crops a random part of the image, resizes it to a square, and flips it half the time.

    The part has 8% to 100% of the area and an aspect ratio from 3/4 to 4/3, as for Inception.

    Args:
        image: an image of mode L or RGB.
        size: height and width of the result, pixels.
        draws: float64 [CROP_DRAWS] in [0, 1), the only source of randomness.

    Returns:
        The pixels, uint8 [size, size, channels].
    """
    *shapes, x, y, flip = draws
    width, height = _crop_shape(image.width, image.height, shapes)
    left, top = x * (image.width - width), y * (image.height - height)
    pixels = _resized(image, size, (left, top, left + width, top + height))
    return np.ascontiguousarray(pixels[:, ::-1]) if flip < 0.5 else pixels


def _crop_shape(width: int, height: int, draws: list[float]) -> tuple[float, float]:
    """Returns the size of the first drawn crop that fits the image, or else its largest square."""
    for area, aspect in zip(draws[::2], draws[1::2], strict=True):
        target = width * height * (_AREA[0] + area * (_AREA[1] - _AREA[0]))
        log_low, log_high = math.log(_ASPECT[0]), math.log(_ASPECT[1])
        ratio = math.exp(log_low + aspect * (log_high - log_low))
        crop_width, crop_height = math.sqrt(target * ratio), math.sqrt(target / ratio)
        if crop_width <= width and crop_height <= height:
            return crop_width, crop_height
    return (min(width, height),) * 2


def _resized(image: "Image.Image", size: int, box: Box) -> np.ndarray:
    from PIL import Image

    if image.size != (size, size) or box != (0, 0, size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
