"""Opening a data set as the pipeline that the config's `data.*` settings choose."""

from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

from xception_jax.data.augmentation import AUGMENTATIONS, RANDOM_CROPS
from xception_jax.data.fingerprint import DataFingerprint, fingerprint_records
from xception_jax.data.pipeline import DatasetInfo, Loading, Pipeline, describe_source
from xception_jax.data.reading import require_readable
from xception_jax.data.sources import load
from xception_jax.errors import InputError, require_choice

if TYPE_CHECKING:
    from xception_jax.data.in_memory import Decoded

PIPELINES = ("auto", "in_memory", "streaming")
# The most that `auto` puts on the device, all splits together. It is small enough for a laptop and
# beside a model on a 16 GB accelerator; CIFAR takes 0.18 GB, ImageNet at 299 pixels 360 GB.
IN_MEMORY_BYTES = 2 * 2**30


def open_pipeline(
    *,
    name: str,
    directory: str | None = None,
    image_size: int,
    validation_fraction: float = 0.1,
    split_seed: int | None = None,
    train_examples: int | None = None,
    upright: bool = True,
    image_key: str | None = None,
    label_key: str | None = None,
    train_split: str | None = None,
    pipeline: str = "auto",
    augmentation: str = "none",
    padding: int = 0,
    corrupt_images: str = "stop",
    threads: int = 8,
    batch_size: int,
    seed: int,
    host: int = 0,
    hosts: int = 1,
    parts: int = 1,
) -> Pipeline:
    """Opens a data set for training and evaluation.

    All arguments but the last five are the config's `data.*` fields. `shift_flip` and its `padding`
    are only checked here: in both pipelines the compiled step applies them (`augment`).

    Args:
        name: name of the data set, see `list_datasets`.
        directory: directory of prepared data sets, or the image folder.
        image_size: height and width of the images, pixels.
        validation_fraction: share of the training images to hold out if the data set has no
            validation split.
        split_seed: see `load`.
        train_examples: number of training examples to use; None uses all.
        upright: whether images are turned as EXIF's Orientation says.
        image_key: see `load`; likewise `label_key` and `train_split`.
        label_key: see `load`.
        train_split: see `load`.
        pipeline: `in_memory`, `streaming`, or `auto`: `in_memory` for up to `IN_MEMORY_BYTES`.
        augmentation: augmentation of the training images, one of `AUGMENTATIONS`.
        padding: largest shift by `shift_flip`, pixels.
        corrupt_images: `stop` or `skip`.
        threads: number of decoding threads on this host.
        batch_size: number of training images per step, over all hosts.
        seed: the run's seed, which determines the order of examples and the random crops.
        host: index of this process, from 0.
        hosts: number of processes that share each batch.
        parts: number of parts that a training batch is computed in; the hosts share each part.

    Raises:
        InputError: a value is invalid, the data set cannot be opened, or a split in memory has no
            image that can be decoded.
    """
    require_choice("data.pipeline", pipeline, PIPELINES)
    require_choice("data.augmentation", augmentation, AUGMENTATIONS)
    require_choice("data.corrupt_images", corrupt_images, ("stop", "skip"))
    if augmentation == "shift_flip" and padding >= image_size:
        reason = f"must be below the image size, {image_size}"
        raise InputError("data.padding", padding, reason, image_size - 1)
    if augmentation == RANDOM_CROPS and pipeline == "in_memory":
        reason = "cuts from the images as they are stored, which only the streaming pipeline sees"
        raise InputError("data.augmentation", augmentation, reason, "shift_flip")
    set_options: dict[str, Any] = {
        "name": name,
        "directory": directory,
        "validation_fraction": validation_fraction,
        "split_seed": split_seed,
        "train_examples": train_examples,
        "upright": upright,
        "image_key": image_key,
        "label_key": label_key,
        "train_split": train_split,
    }
    source = _load(**set_options)
    info = describe_source(source, image_size)
    loading = Loading(augmentation, corrupt_images, threads, batch_size, seed, host, hosts, parts)
    if lies_in_memory(info, pipeline=pipeline, augmentation=augmentation):
        from xception_jax.data.in_memory import InMemoryPipeline

        decoded = _load_decoded(
            image_size=image_size, corrupt_images=corrupt_images, threads=threads, **set_options
        )
        return InMemoryPipeline(decoded, info, loading)
    from xception_jax.data.streaming import StreamingPipeline

    return StreamingPipeline(source, info, loading, lambda: _fingerprint_records(**set_options))


def lies_in_memory(info: DatasetInfo, *, pipeline: str, augmentation: str) -> bool:
    """Returns whether `open_pipeline` keeps the data set on the device with these settings."""
    size = sum(info.examples.values()) * prod(info.image_shape)
    fits = size <= IN_MEMORY_BYTES and augmentation != RANDOM_CROPS
    return pipeline == "in_memory" or (pipeline == "auto" and fits)


# The runs of a sweep that one process trains differ in their seed only: they share a data set.
_load = lru_cache(maxsize=2)(load)


@lru_cache(maxsize=2)
def _fingerprint_records(**set_options: Any) -> DataFingerprint:
    """The fingerprint of a streaming data set; `set_options` are the arguments of `load`."""
    return fingerprint_records(_load(**set_options))


@lru_cache(maxsize=1)
def _load_decoded(
    *, image_size: int, corrupt_images: str, threads: int, **set_options: Any
) -> "Decoded":
    """Decodes a data set into memory; `set_options` are the arguments of `load`."""
    from xception_jax.data.in_memory import decode

    source = _load(**set_options)
    decoded = decode(source, image_size, corrupt_images=corrupt_images, threads=threads)
    for split, readable in decoded.readable.items():
        if len(readable):
            require_readable(set_options["name"], split, int(readable.sum()))
    return decoded
