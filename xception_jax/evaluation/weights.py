"""Evaluation of converted weights on a data set, with images prepared as the weights expect."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from xception_jax.config import Config
from xception_jax.data import Source, describe_source, load
from xception_jax.data.reading import CorruptImages, read_examples, require_readable
from xception_jax.errors import InputError, require_choice
from xception_jax.pretrained import Preprocessing
from xception_jax.pretrained.class_names import class_positions
from xception_jax.pretrained.directory import Weights, read_weights
from xception_jax.pretrained.keras_config import SIGMOID
from xception_jax.records import DATA_SPLITS
from xception_jax.training.metrics import sigmoid_cross_entropy
from xception_jax.training.objective import make_task


def evaluate_weights(directory: Path, config: Config, *, split: str) -> dict[str, Any]:
    """Evaluates converted weights on one device.

    Images are resized, cropped and scaled as the source of the weights expects them, and never
    augmented.

    Args:
        directory: directory of converted weights.
        config: config of which only `data` and `evaluation` are used.
        split: "train", "valid" or "test".

    Returns:
        A dictionary of "split", "examples" and the metrics. The loss of a head that ends in a
        sigmoid is that of independent classes, summed over them, also on images of one class each.

    Raises:
        InputError: the weights cannot be read or are for other images or classes, the data set
            cannot be opened, or an image cannot be decoded.
    """
    require_choice("--split", split, DATA_SPLITS)
    weights, data = read_weights(directory), config.data
    if data.image_size != (size := weights.preprocessing.size):
        reason = f"the weights in {directory} expect images of {size} pixels"
        raise InputError("data.image_size", data.image_size, reason, size)
    source = load(**data.source(config.seed))
    if weights.num_classes != (classes := len(source.class_names)):
        head = "no classifier" if weights.num_classes is None else f"{weights.num_classes} classes"
        reason = f"is a set of {classes} classes, the weights in {directory} have {head}"
        raise InputError("data.name", data.name, reason)
    if not len(source.splits[split]):
        raise InputError("--split", split, f"{data.name} has no such split")
    positions = class_positions(weights.class_names, source.class_names, data.name)
    return {"split": split, **_measure(weights, source, config, split, positions)}


def _measure(
    weights: Weights,
    source: Source,
    config: Config,
    split: str,
    positions: Int[np.ndarray, " classes"],
) -> dict[str, Any]:
    info = describe_source(source, weights.preprocessing.size)
    task, model = make_task(info, label_smoothing=0.0), weights.function()
    classes_are_independent = weights.probabilities == SIGMOID and not info.multi_label

    @jax.jit
    def outputs(images: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
        logits, _ = model.apply(weights.parameters, weights.batch_stats, images, train=False)
        logits = logits[:, positions]
        of_examples = task.outputs(logits, labels)
        if classes_are_independent:
            of_classes = jax.nn.one_hot(labels, info.num_classes, dtype=jnp.uint8)
            of_examples["loss"] = sigmoid_cross_entropy(logits, of_classes)
        return of_examples

    parts = []
    for images, labels in _batches(weights.preprocessing, source, config, split):
        # The last batch is padded, so that nothing is compiled a second time.
        padding = [(0, config.evaluation.batch_size - len(labels))]
        padded = (np.pad(x, padding + [(0, 0)] * (x.ndim - 1)) for x in (images, labels))
        parts.append({name: x[: len(labels)] for name, x in outputs(*padded).items()})
        jax.block_until_ready(parts[-2:-1])  # else images would wait in memory for the device
    require_readable(config.data.name, split, len(parts))
    fetched = jax.device_get(parts)
    examples = {name: np.concatenate([part[name] for part in fetched]) for name in fetched[0]}
    return {"examples": len(examples["label"]), **task.metrics(examples)}


def _batches(
    preprocessing: Preprocessing, source: Source, config: Config, split: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields float32 images [n, size, size, channels] and their labels, each example once.

    Examples that cannot be read are left out.
    """
    corrupt = CorruptImages(config.data.corrupt_images)

    def prepare(image: Any, _: Any) -> np.ndarray:
        return preprocessing(image.convert("RGB"))

    def read(index: int) -> Any:
        (example,) = read_examples(source.splits[split], np.array([index]), prepare, corrupt)
        return example

    count, size = len(source.splits[split]), config.evaluation.batch_size
    with ThreadPoolExecutor(config.data.threads) as pool:
        for first in range(0, count, size):
            examples = pool.map(read, range(first, min(first + size, count)))
            if readable := [example for example in examples if example is not None]:
                images, labels = zip(*readable, strict=True)
                yield np.stack(images), np.stack(labels)
