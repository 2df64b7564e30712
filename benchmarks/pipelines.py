"""How fast images come: what lies in memory, and what is read and decoded as it is needed."""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Settings, Variant, Work

TARGET = "benchmarks.pipelines:pipeline"


def cases(settings: Settings) -> Iterator[Case]:
    """The images of the package at 28 px; JPEG files of 500 x 375 px, cut to 299."""
    shipped: dict[str, Any] = {"data.name": "fashion_mnist_mini", "data.image_size": 28}
    limit = {"data.train_examples": 256} if settings.quick else {}
    batch = 32 if settings.quick else 64
    shifted = {"data.augmentation": "shift_flip"}
    variants = [
        Variant("in memory, shift and flip", TARGET, _work("in_memory", batch, shipped | shifted)),
        Variant("in memory, no augmentation", TARGET, _work("in_memory", batch, shipped)),
        Variant("streaming", TARGET, _work("streaming", batch, shipped | limit)),
    ]
    yield Case(f"fashion_mnist_mini, batch {batch}", "images/s", tuple(variants))
    if settings.quick:
        return
    crops = {"data.image_size": 299, "data.augmentation": "random_resized_crop"}
    folder: dict[str, Any] = {"data.name": "folder", **crops}
    threads = [
        Variant(
            f"streaming, {count} thread{'s' if count > 1 else ''}",
            TARGET,
            _work("streaming", 32, folder | {"data.threads": count}) | {"jpegs": 256},
        )
        for count in (1, 2, 4, 8)
    ]
    yield Case("JPEG 500 x 375 to 299 px, batch 32", "images/s", tuple(threads))


def _work(pipeline: str, batch: int, data: dict[str, Any]) -> dict[str, Any]:
    return {"settings": {"data.pipeline": pipeline, "train.batch_size": batch, **data}}


def pipeline(*, settings: dict[str, Any], jpegs: int = 0) -> Work:
    """Batches as the compiled step sees them: gathered, augmented, from -1 to 1, on the device.

    Args:
        settings: of the config.
        jpegs: make so many files to read, which no data set of the package has.
    """
    import jax
    import jax.numpy as jnp

    from xception_jax.config import resolve
    from xception_jax.data import augment, gather, normalize
    from xception_jax.training.setup import open_data

    if jpegs:
        settings = settings | {"data.directory": str(_make_jpegs(jpegs))}
    config = resolve(settings)
    opened = open_data(config)
    device_data = jax.device_put(opened.device_data.get("train", {}))
    augmentation, padding = config.data.augmentation, config.data.padding

    @jax.jit
    def prepare(device_data: Any, batch: Any, step: Any) -> Any:
        images, labels = gather(device_data, batch)
        key = jax.random.fold_in(jax.random.key(0), step)
        keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.arange(len(labels)))
        return normalize(augment(images, keys, augmentation=augmentation, padding=padding)), labels

    batches = opened.train_batches(0)

    def run(times: int) -> None:
        result: Any = None
        for step, batch in enumerate(islice(batches, times)):
            result = prepare(device_data, batch, step)
        jax.block_until_ready(result)

    return Work(run, config.train.batch_size)


def _make_jpegs(count: int) -> Path:
    """A folder of two classes; each image a blurred noise, about as detailed as a photograph."""
    import numpy as np
    from PIL import Image, ImageFilter

    rng, root = np.random.default_rng(0), Path(tempfile.mkdtemp(prefix="xception-jax-benchmarks-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    folders = [root / split / name for split in ("train", "test") for name in ("one", "two")]
    for folder in folders:
        folder.mkdir(parents=True)
    for number, folder in zip(range(count), cycle(folders[:2]), strict=False):
        noise = rng.integers(0, 256, (375, 500, 3), dtype=np.uint8)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse = coarse.resize((500, 375), Image.Resampling.BICUBIC)
        image = Image.blend(coarse, Image.fromarray(noise), 0.3)
        image = image.filter(ImageFilter.GaussianBlur(1))
        image.save(folder / f"{number}.jpg", quality=90)
    for folder in folders[2:]:
        image.save(folder / "0.jpg", quality=90)
    return root
