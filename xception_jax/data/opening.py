"""From the values of the config's `data.*` fields to the pipeline that fits them."""

from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from xception_jax.data.pipeline import DatasetInfo, Loading, Pipeline
from xception_jax.data.sources import load
from xception_jax.data.splits import Source
from xception_jax.errors import InputError, require_choice

if TYPE_CHECKING:
    from xception_jax.data.in_memory import Decoded

_CROPS = "random_resized_crop"
AUGMENTATIONS = ("none", "shift_flip", _CROPS)
PIPELINES = ("auto", "in_memory", "streaming")
# What `auto` puts on the device, all splits together. Small enough for a laptop and beside a model
# on a 16 GB accelerator; CIFAR takes 0.18 GB, ImageNet at 299 pixels 360 GB.
IN_MEMORY_BYTES = 2 * 2**30


def open_pipeline(
    *,
    name: str,
    directory: str | None = None,
    image_size: int,
    validation_fraction: float = 0.1,
    train_examples: int | None = None,
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

    All but the last five are the config's `data.*` fields. `shift_flip` and its `padding` are the
    compiled step's business (`augment`) in both pipelines; they are checked here only.

    Args:
        name: of the set, see `list_datasets`.
        directory: of prepared sets, or the image folder.
        image_size: height and width of the images, pixels.
        validation_fraction: share of train held out where the set has no validation split.
        train_examples: use only the first so many; None: all.
        pipeline: in_memory, streaming, or auto, which takes in_memory up to `IN_MEMORY_BYTES`.
        augmentation: of training images.
        padding: pixels that shift_flip moves an image at most.
        corrupt_images: stop or skip.
        threads: that decode, on this host.
        batch_size: training images a step, over all hosts.
        seed: of the run: it sets the order of examples and the random crops.
        host: this process's number, from 0.
        hosts: number of processes that share the batch.
        parts: of a training batch, each of which they share.

    Raises:
        InputError: a value that is not valid, or a data set that cannot be opened.
    """
    require_choice("data.pipeline", pipeline, PIPELINES)
    require_choice("data.augmentation", augmentation, AUGMENTATIONS)
    require_choice("data.corrupt_images", corrupt_images, ("stop", "skip"))
    if augmentation == "shift_flip" and padding >= image_size:
        reason = f"must be below the image size, {image_size}"
        raise InputError("data.padding", padding, reason, image_size - 1)
    if augmentation == _CROPS and pipeline == "in_memory":
        reason = "cuts from the images as they are stored, which only the streaming pipeline sees"
        raise InputError("data.augmentation", augmentation, reason, "shift_flip")
    source = _source(name, directory, validation_fraction, train_examples)
    examples = {split: len(source.splits[split]) for split in ("train", "valid", "test")}
    shape = (image_size, image_size, source.channels)
    info = DatasetInfo(name, source.class_names, shape, examples, source.class_frequencies)
    loading = Loading(augmentation, corrupt_images, threads, batch_size, seed, host, hosts, parts)
    if lies_in_memory(info, pipeline=pipeline, augmentation=augmentation):
        from xception_jax.data.in_memory import InMemoryPipeline

        decoded = _decoded(
            name=name,
            directory=directory,
            validation_fraction=validation_fraction,
            train_examples=train_examples,
            image_size=image_size,
            corrupt_images=corrupt_images,
            threads=threads,
        )
        return InMemoryPipeline(decoded, info, loading)
    from xception_jax.data.streaming import StreamingPipeline

    return StreamingPipeline(source, info, loading)


def lies_in_memory(info: DatasetInfo, *, pipeline: str, augmentation: str) -> bool:
    """Whether `open_pipeline` puts the set on the device, as the two fields of `data` want it."""
    size = sum(info.examples.values()) * prod(info.image_shape)
    fits = size <= IN_MEMORY_BYTES and augmentation != _CROPS
    return pipeline == "in_memory" or (pipeline == "auto" and fits)


@lru_cache(maxsize=2)
def _source(
    name: str, directory: str | None, validation_fraction: float, train_examples: int | None
) -> Source:
    return load(
        name,
        directory=directory,
        validation_fraction=validation_fraction,
        train_examples=train_examples,
    )


@lru_cache(maxsize=1)
def _decoded(
    *,
    name: str,
    directory: str | None,
    validation_fraction: float,
    train_examples: int | None,
    image_size: int,
    corrupt_images: str,
    threads: int,
) -> "Decoded":
    """Kept for the next run of this process: the runs of a sweep differ in their seed only."""
    from xception_jax.data.in_memory import decode

    source = _source(name, directory, validation_fraction, train_examples)
    return decode(source, image_size, corrupt_images=corrupt_images, threads=threads)
