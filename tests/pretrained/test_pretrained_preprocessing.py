"""Preparation of images as the source of the weights prepares them."""

import numpy as np
import pytest
from PIL import Image

from xception_jax.errors import InputError
from xception_jax.pretrained import TIMM, preprocessing
from xception_jax.pretrained.preprocessing import expected_by


def test_the_customary_crop_is_the_centre_of_333_pixels(rng):
    pixels = rng.integers(0, 256, (333, 500, 3), np.uint8)  # of this size nothing is scaled
    prepared = expected_by(TIMM)(Image.fromarray(pixels))
    assert prepared.dtype == np.float32
    # Three float32 operations on numbers of size 1, each rounded by 6e-8.
    expected = pixels[17:316, 100:399] / 127.5 - 1
    np.testing.assert_allclose(prepared, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("filter_name", ["bilinear", "bicubic"])
def test_the_kept_part_is_scaled_as_in_the_whole_image(filter_name, rng, monkeypatch):
    prepare = preprocessing.Preprocessing(32, "crop", 0.8975, filter_name, (0.0,) * 3, (1.0,) * 3)
    for _ in range(10):
        # Values in the middle, so that bicubic interpolation is nowhere cut off at 0 or 255.
        pixels = rng.integers(90, 166, (*rng.integers(20, 200, 2), 3), np.uint8)
        image = Image.fromarray(pixels)
        whole = prepare(image)
        with monkeypatch.context() as patch:
            patch.setattr(preprocessing, "_MOST_SCALED", 0)
            part = prepare(image)
        # Each of the two passes rounds to whole levels, and their order may be another.
        np.testing.assert_allclose(part, whole, atol=2.01 / 255, rtol=0)


@pytest.mark.parametrize(("mean", "std"), [(1, 1), (1, 3), (3, 1), (4, 4), (0, 0)])
def test_other_numbers_of_channels_than_three_are_refused(mean, std):
    with pytest.raises(InputError, match=r"preprocessing\.mean=.* is not valid") as caught:
        preprocessing.Preprocessing(32, "squash", 1.0, "nearest", (0.5,) * mean, (0.5,) * std)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(65_000, 1), (1, 65_000)])
def test_a_strip_is_not_scaled_whole(shape, monkeypatch):
    made, resize = [], Image.Image.resize

    def recorded(image, size, *arguments, **settings):
        made.append(size)
        assert size == (299, 299)  # and not 21,645,000x333, which are gigabytes
        return resize(image, size, *arguments, **settings)

    monkeypatch.setattr(Image.Image, "resize", recorded)
    pixels = np.repeat(np.arange(65_000)[:, np.newaxis] * 255 // 64_999, 3, axis=1)
    strip = Image.fromarray(pixels.astype(np.uint8).reshape(*shape, 3))
    prepared = expected_by("timm", 299)(strip)
    assert len(made) == 1
    np.testing.assert_allclose(prepared, 0.0, atol=2 / 255)  # grey, as its centre is
