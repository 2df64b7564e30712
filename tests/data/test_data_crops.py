"""Crops of images, against slices of their pixels and against arithmetic by hand."""

import numpy as np
from PIL import Image

from xception_jax.data.images import CROP_DRAWS, central_crop, random_resized_crop


def test_central_crop_takes_the_centre(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (16, 32, 3), np.uint8)
    image = Image.fromarray(pixels)
    np.testing.assert_array_equal(central_crop(image, 16, 1.0), pixels[:, 8:24])
    np.testing.assert_array_equal(central_crop(image, 14, 0.875), pixels[1:15, 9:23])
    # At a quarter of the size every pixel is the mean of light and dark stripes, 127.5; without
    # antialiasing it would be that of two light ones.
    stripes = np.zeros((16, 32, 3), np.uint8)
    stripes[:, np.arange(32) % 4 % 3 > 0] = 255
    small = central_crop(Image.fromarray(stripes), 4, 1.0)
    assert small.shape == (4, 4, 3)
    assert set(small.ravel().tolist()) <= {127, 128}


def test_random_resized_crop_covers_what_it_should(rng: np.random.Generator) -> None:
    """400 random crops have areas and shapes from all of their ranges, and about half are flipped.

    The image is a ramp, whose pixel values show where each crop was cut.
    """
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
    # A side of 51 pixels or more is measured to one pixel: areas and shapes to 4%.
    assert 0.96 * 0.08 < min(areas) < 0.15
    assert 0.75 < max(areas) < 1.04
    assert 0.96 * 3 / 4 < min(aspects) < 0.85
    assert 1.2 < max(aspects) < 1.04 * 4 / 3
    assert abs(np.mean(flips) - 0.5) < 6 * 0.5 / np.sqrt(400)  # six standard deviations


def test_random_resized_crop_of_an_extreme_shape() -> None:
    """No drawn crop fits into a thin strip, so its central square is used."""
    strip = np.zeros((4, 400, 3), np.uint8)
    strip[:, 198:202] = 200
    draws = np.full(CROP_DRAWS, 0.999)
    draws[-3:-1] = 0.5
    assert random_resized_crop(Image.fromarray(strip), 4, draws).min() == 200
