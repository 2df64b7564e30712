"""What an arm costs, counted before anything is trained, and widths that make costs equal."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, prod
from typing import Any

import jax
import jax.numpy as jnp

from xception_jax.config import Config, ModelConfig, resolve
from xception_jax.data import DatasetInfo, load
from xception_jax.errors import InputError
from xception_jax.models import ModelFunction, Row, count, functional_model, unused_settings
from xception_jax.sweep.experiment import Experiment
from xception_jax.training.setup import make_schedule

TOLERANCE = 0.01  # by which an arm may differ from the reference arm and still count as equal
# (classes, channels, training and test images) of sets that are planned for before they are here.
_WELL_KNOWN = {
    "cifar10": (10, 3, 50_000, 10_000),
    "cifar100": (100, 3, 50_000, 10_000),
    "fashion_mnist": (10, 1, 60_000, 10_000),
    "imagenet2012": (1000, 3, 1_281_167, 50_000),
}
_CLOSE_ENOUGH = 0.001
_TRIALS = 24
# So many images in a batch, and what has a multiple of it as its size is one of the whole batch:
# no other dimension of a model is a multiple of it.
_A_PRIME = 131_071


@dataclass(frozen=True)
class Cost:
    """What one arm takes.

    Attributes:
        parameters: trainable numbers.
        macs: multiply-adds of one image, forward.
        activation_bytes: what one more image in the batch makes the backward pass keep.
        steps: optimizer steps of a run.
        width: the config's `model.width`.
        rows: parameters and multiply-adds of every module.
        unused: settings the arm names that change nothing in its model.
    """

    parameters: int
    macs: int
    activation_bytes: int
    steps: int
    width: float
    rows: tuple[Row, ...]
    unused: tuple[str, ...]


def arm_cost(config: Config, named: Iterable[str] = ()) -> Cost:
    """Counts, and compiles nothing; a second or two for the paper's Xception.

    Args:
        config: of a run of the arm.
        named: the settings that make the arm what it is, with dotted names.

    Raises:
        InputError: the model cannot be built, or not for images of this size.
    """
    info = dataset_info(config)
    model = _for_data(config, info)
    function = functional_model(model)
    rows = tuple(count(function, info.image_shape))
    unused = {f"model.{name}" for name in unused_settings(model)}
    return Cost(
        parameters=rows[0].parameters,
        macs=rows[0].macs,
        activation_bytes=_activation_bytes(function, info.image_shape),
        steps=make_schedule(config, info.examples["train"]).total,
        width=config.model.width,
        rows=rows,
        unused=tuple(name for name in named if name in unused),
    )


def equalize(experiment: Experiment, base: Config) -> Experiment:
    """The experiment with widths that give every arm the budget of the first one.

    Raises:
        InputError: an arm cannot be brought within 1% of the first one's.
    """
    if not experiment.equal:
        return experiment
    arms = dict(experiment.arms)
    reference, *others = arms
    target = _budget(experiment.equal, resolve(base, arms[reference]))
    for arm in others:

        def measure(width: float, arm: str = arm) -> int:
            return _budget(experiment.equal, resolve(base, arms[arm], {"model.width": width}))

        width, reached = _match(measure, target, resolve(base, arms[arm]).model.width)
        if _off(reached, target) > TOLERANCE:
            reason = f"arm {arm!r} comes no closer than {reached:,} to {target:,} of {reference!r}"
            raise InputError("experiment.equal", experiment.equal, reason)
        arms[arm] = {**arms[arm], "model.width": width}
    return replace(experiment, arms=arms)


def _match(measure: Callable[[float], int], target: int, start: float) -> tuple[float, int]:
    """The width whose measure is nearest to `target`, and that measure; it grows with the width.

    About as the square of the width, which gives the next one to try. Where that brings little, for
    widths are rounded to whole features and segments, the interval is halved instead.
    """
    low, high = start / 16, start * 16
    width, here = start, measure(start)
    best, reached, last = width, here, inf
    for _ in range(_TRIALS):
        if min(_off(reached, target), high / low - 1) <= _CLOSE_ENOUGH:
            break
        low, high = (max(low, width), high) if here < target else (low, min(high, width))
        before, guess = _off(here, target), width * (target / here) ** 0.5
        width = round(guess if low < guess < high and before < last / 2 else (low * high) ** 0.5, 4)
        here, last = measure(width), before
        if _off(here, target) < _off(reached, target):
            best, reached = width, here
    return best, reached


def _off(measured: int, target: int) -> float:
    return abs(measured / target - 1)


def _budget(kind: str, config: Config) -> int:
    # An activation has neither parameters nor multiply-adds: arms that differ in it cost the same.
    info = dataset_info(config)
    model = _for_data(config, info)
    block = replace(model.block, intermediate_activation="none")
    return _counted(kind, replace(model, block=block), info.image_shape)


@lru_cache(maxsize=512)
def _counted(kind: str, model: ModelConfig, image_shape: tuple[int, int, int]) -> int:
    function = functional_model(model)
    if kind == "macs":
        return count(function, image_shape)[0].macs
    return sum(prod(leaf.shape) for leaf in function.parameters)


def _for_data(config: Config, info: DatasetInfo) -> ModelConfig:
    return replace(config.model, num_classes=info.num_classes, in_channels=info.image_shape[-1])


def _activation_bytes(function: ModelFunction, image_shape: tuple[int, int, int]) -> int:
    """Bytes the backward pass keeps for one image, before the compiler saves any."""

    def residuals(parameters: Any, batch_stats: Any, images: Any) -> Any:
        def logits(values: Any) -> Any:
            return function.apply(values, batch_stats, images, train=True)[0]

        return jax.vjp(logits, parameters)[1]

    parameters, batch_stats = (
        {leaf.path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves}
        for leaves in (function.parameters, function.batch_stats)
    )
    images = jax.ShapeDtypeStruct((_A_PRIME, *image_shape), jnp.float32)
    kept = jax.tree.leaves(jax.eval_shape(residuals, parameters, batch_stats, images))
    of_images = (leaf for leaf in kept if leaf.size % _A_PRIME == 0)
    return sum(leaf.size // _A_PRIME * leaf.dtype.itemsize for leaf in of_images)


def dataset_info(config: Config) -> DatasetInfo:
    """Of the config's data set; of a well-known one without having it, its classes are numbers.

    Raises:
        InputError: a set that is neither here nor well known.
    """
    data = config.data
    return _read_info(
        data.name,
        data.directory,
        data.image_size,
        data.validation_fraction,
        data.train_examples,
    )


@lru_cache(maxsize=4)
def _read_info(
    name: str,
    directory: str | None,
    size: int,
    validation_fraction: float,
    train_examples: int | None,
) -> DatasetInfo:
    try:
        source = load(
            name,
            directory=directory,
            validation_fraction=validation_fraction,
            train_examples=train_examples,
        )
    except InputError:
        if name not in _WELL_KNOWN:
            raise
        classes, channels, train, test = _WELL_KNOWN[name]
        held_out = round(train * validation_fraction)
        kept = min(train - held_out, train_examples or train)
        examples = {"train": kept, "valid": held_out, "test": test}
        return DatasetInfo(name, tuple(map(str, range(classes))), (size, size, channels), examples)
    examples = {split: len(rows) for split, rows in source.splits.items()}
    shape = (size, size, source.channels)
    return DatasetInfo(name, source.class_names, shape, examples, source.class_frequencies)
