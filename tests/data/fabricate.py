"""Image files generated for the tests."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def encode(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    """Returns pixels encoded as the content of an image file."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(buffer, kind)
    return buffer.getvalue()


def write_folder(
    root: Path, rng: np.random.Generator, splits: dict[str, int], size: tuple[int, int] = (24, 32)
) -> None:
    """Writes `splits[name]` random PNG images of (height, width) `size` for each of 3 classes."""
    for split, count in splits.items():
        for label in ("ant", "bee", "cat"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (*size, 3), np.uint8)
                (root / split / label / f"{number:03}.png").write_bytes(encode(pixels))
