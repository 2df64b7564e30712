"""Preparation of images as the source of a model's weights prepares them."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xception_jax.errors import InputError
from xception_jax.pretrained.files import TIMM

if TYPE_CHECKING:
    from PIL import Image

RESIZES = ("squash", "crop")
FILTERS = ("nearest", "bilinear", "bicubic")
_MOST_SCALED = 1 << 25
"""Pixels to which an image is scaled whole before its centre is cropped; of more, as those of a
strip of 65,000 pixels by one, only what the crop keeps is computed."""


@dataclass(frozen=True)
class Preprocessing:
    """The preparation of images for a model: resizing and normalization.

    Attributes:
        size: height and width of the result, in pixels.
        resize: "squash" scales the whole image to a square, "crop" scales its shorter side to
            `size / crop_fraction` and crops the centre.
        crop_fraction: fraction of the scaled image's shorter side that the crop keeps.
        filter: resampling filter, "nearest", "bilinear" or "bicubic".
        mean: mean of each channel, subtracted after scaling to the range 0 to 1.
        std: standard deviation of each channel, by which the difference is divided.

    Raises:
        InputError: a value is not valid.
    """

    size: int
    resize: str
    crop_fraction: float
    filter: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int) and 1 <= self.size <= 4096):
            raise InputError("preprocessing.size", self.size, "must be an integer from 1 to 4096")
        for field, value, valid in (
            ("resize", self.resize, self.resize in RESIZES),
            ("filter", self.filter, self.filter in FILTERS),
            ("crop_fraction", self.crop_fraction, _real(self.crop_fraction, 0.1, 1)),
            ("mean", self.mean, all(_real(value, -10, 10) for value in self.mean)),
            ("std", self.std, all(_real(value, 1e-3, 1e3) for value in self.std)),
            ("mean", self.mean, len(self.mean) == len(self.std) == 3),
        ):
            if not valid:
                raise InputError(f"preprocessing.{field}", value, "is not valid")

    @classmethod
    def from_dict(cls, fields: Any) -> "Preprocessing":
        """Creates an instance from the dictionary that `to_dict` returns.

        Raises:
            InputError: fields are missing, unknown or not valid.
        """
        try:
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in dict(fields).items()
            }
            return cls(**values)
        except InputError:
            raise
        except (TypeError, ValueError) as error:
            raise InputError("preprocessing", None, f"is not valid: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON data."""
        return asdict(self)

    def __call__(self, image: "Image.Image") -> np.ndarray:
        """Prepares an image of mode RGB; returns float32 [size, size, 3]."""
        pixels = np.asarray(self._resized(image), np.float32)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return (pixels / np.float32(255) - mean) / std

    def _resized(self, image: "Image.Image") -> "Image.Image":
        from PIL import Image

        resampling = Image.Resampling[self.filter.upper()]
        if self.resize == "squash":
            return image.resize((self.size, self.size), resampling)
        shorter = math.floor(self.size / self.crop_fraction)
        sides = [int(shorter * side / min(image.size)) for side in image.size]
        # Rounded as in torchvision, whose crop timm's evaluation uses.
        left, top = (round((side - self.size) / 2) for side in sides)
        box = left, top, left + self.size, top + self.size
        if sides[0] * sides[1] <= _MOST_SCALED:
            return image.resize((sides[0], sides[1]), resampling).crop(box)
        # Not for every image, to be the same as timm to the bit: Pillow may take rows and columns
        # in another order, which changes where bicubic interpolation is cut off at 0 and 255.
        factors = [old / new for old, new in zip(image.size, sides, strict=True)]
        kept = left * factors[0], top * factors[1], box[2] * factors[0], box[3] * factors[1]
        return image.resize((self.size, self.size), resampling, box=kept)


def _real(value: object, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def expected_by(kind: str, size: int = 299) -> Preprocessing:
    """The preparation of images that a source of weights documents.

    Keras's applications take the whole image, scaled by `load_img` to `target_size` with its
    default filter, with values from -1 to 1. timm evaluates `legacy_xception` on the centre of an
    image scaled to 333 pixels, with mean and standard deviation 0.5, which is the same range.

    Args:
        kind: a name in `SOURCES`.
        size: height and width, in pixels.
    """
    half = (0.5,) * 3
    if kind == TIMM:
        return Preprocessing(size, "crop", 0.8975, "bicubic", half, half)
    return Preprocessing(size, "squash", 1.0, "nearest", half, half)
