"""Trees of image files whose classes cannot be stored, or whose images are there twice."""

import pytest

from tests.data import fabricate_archives as fabricate
from tests.data.fabricate_archives import WNIDS, write
from tests.data.refusal import refusal


@pytest.mark.parametrize("label", [" bird", "bird ", " ", "bird\nbath"])
def test_a_class_that_is_not_one_line_is_named(label, rng, tmp_path):
    """TFDS would give it another name, or two."""
    files = fabricate.imagenette(rng, each=1)
    added = [f"imagenette2-160/{split}/{label}/0.JPEG" for split in ("train", "val")]
    write(tmp_path / "in", files | fabricate.photos(rng, added))
    said = refusal("imagenette", tmp_path / "in")
    assert "whose class has spaces around its name or several lines" in said
    assert f"holds {added[0]!r}" in said


def test_a_validation_image_in_its_class_and_beside_it_is_named(rng, tmp_path):
    """TFDS would end with a traceback: both would have the same name."""
    again = f"tiny-imagenet-200/val/{WNIDS[1]}/images/val_1.JPEG"  # which is of that class
    write(tmp_path / "in", fabricate.tiny_imagenet(rng) | fabricate.photos(rng, [again]))
    said = refusal("tiny_imagenet", tmp_path / "in")
    assert f"holds the validation image val_1.JPEG of {WNIDS[1]!r} twice" in said
