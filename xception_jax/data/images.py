"""From encoded images to uint8 arrays of one size, with Pillow.

Pillow, not OpenCV: it is small, TFDS needs it anyway, and its resizing filters antialias.
"""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

Encoded = bytes | np.ndarray | Path
Box = tuple[float, float, float, float]

# Of Inception's training augmentation: share of the image's area, and width over height.
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_ATTEMPTS = 10
CROP_DRAWS = 2 * _ATTEMPTS + 3


class CorruptImage(Exception):
    """An example whose image cannot be decoded.

    Attributes:
        name: the file, or the split and index of the record.
        reason: what the decoder said.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name} cannot be decoded: {reason}")


def decode(encoded: Encoded, channels: int, name: str) -> "Image.Image":
    """The image in mode L (`channels` 1) or RGB (3), whatever mode it was stored in.

    Args:
        encoded: an image file or its bytes, or pixels uint8 [height, width, channels].
        channels: 1 or 3.
        name: what to call the image in an error.

    Raises:
        CorruptImage: it cannot be read, or is no whole image that Pillow knows.
    """
    from PIL import Image

    mode = "L" if channels == 1 else "RGB"
    if isinstance(encoded, np.ndarray):
        return Image.fromarray(encoded[..., 0] if encoded.shape[-1] == 1 else encoded).convert(mode)
    try:
        content = encoded.read_bytes() if isinstance(encoded, Path) else encoded
        image: Image.Image = Image.open(io.BytesIO(content))
        if image.mode.startswith("I;16"):
            # Pillow clips 16-bit grey to 255 instead of scaling it.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image.load()
        return image if image.mode == mode else image.convert(mode)
    # A damaged file can raise nearly anything in Pillow's parsers (SyntaxError, struct.error,
    # zlib.error, DecompressionBombError, …): whatever it is, this image is unusable.
    except Exception as error:
        raise CorruptImage(name, f"{type(error).__name__}: {error}") from error


def central_crop(image: "Image.Image", size: int, fraction: float) -> np.ndarray:
    """The centred square whose side is `fraction` of the shorter side, resized to `size`.

    The same as resizing the shorter side to `size / fraction` and then cropping the centre.

    Returns:
        uint8 [size, size, channels].
    """
    side = fraction * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return _resized(image, size, (left, top, left + side, top + side))


def random_resized_crop(image: "Image.Image", size: int, draws: np.ndarray) -> np.ndarray:
    """A random part of the image, resized to a square, and flipped half the time.

    The part has 8% to 100% of the area and an aspect ratio from 3/4 to 4/3, as Inception's.

    Args:
        image: mode L or RGB.
        size: height and width of the result, pixels.
        draws: float64 [CROP_DRAWS] in [0, 1), all the randomness there is.

    Returns:
        uint8 [size, size, channels].
    """
    *shapes, x, y, flip = draws
    width, height = _crop_shape(image.width, image.height, shapes)
    left, top = x * (image.width - width), y * (image.height - height)
    pixels = _resized(image, size, (left, top, left + width, top + height))
    return np.ascontiguousarray(pixels[:, ::-1]) if flip < 0.5 else pixels


def _crop_shape(width: int, height: int, draws: list[float]) -> tuple[float, float]:
    """The first of the drawn crops that fits into the image, else its largest centred square."""
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
