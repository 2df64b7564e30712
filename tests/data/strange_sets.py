"""Prepared sets as others make them, stored with TFDS itself."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tests.data.fabricate import encode

SIDE = 4


def store(
    root: Path,
    splits: Mapping[str, list[dict[str, Any]]],
    features: Mapping[str, Any],
    supervised: tuple[str, str] | None = None,
    licence: str | None = None,
) -> str:
    """Stores a set named `strange` with TFDS itself; returns the directory of prepared sets."""
    with tfds.core.registered.skip_registration():

        class Builder(tfds.core.GeneratorBasedBuilder):
            name = "strange"
            VERSION = tfds.core.Version("1.0.0")

            def _info(self) -> Any:
                return tfds.core.DatasetInfo(
                    builder=self,
                    description="",
                    features=tfds.features.FeaturesDict(dict(features)),
                    supervised_keys=supervised,
                    license=licence,
                )

            def _split_generators(self, dl_manager: Any) -> Any:
                return {split: self._generate_examples(split) for split in splits}

            def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
                yield from enumerate(splits[split])

    Builder(data_dir=str(root), file_format="array_record").download_and_prepare()
    return str(root)


def picture(red: int) -> io.BytesIO:
    """A PNG image that is as red as said."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[..., 0] = red
    return io.BytesIO(encode(pixels))


IMAGE = tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="png")


def two_of_each(count: int) -> list[dict[str, Any]]:
    """Examples with two images and two labels; those of a right pair show each other."""
    return [
        {
            "front": picture(10 * (index % 3)),
            "back": picture(100 + 10 * (index % 2)),
            "species": index % 3,
            "sex": index % 2,
        }
        for index in range(count)
    ]


TWO_OF_EACH = {
    "front": IMAGE,
    "back": IMAGE,
    "species": tfds.features.ClassLabel(names=["ant", "bee", "cat"]),
    "sex": tfds.features.ClassLabel(names=["f", "m"]),
}
