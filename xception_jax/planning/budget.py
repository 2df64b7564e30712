"""The cost of arms, counted before anything is trained, and widths that make their costs equal."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, prod
from typing import Any

import jax
import jax.numpy as jnp

from xception_jax.config import Config, DataConfig, ModelConfig, resolve
from xception_jax.data import DatasetInfo, describe_source, load
from xception_jax.errors import InputError
from xception_jax.models import (
    ModelFunction,
    ModuleCounts,
    count,
    model_from_config,
    unused_settings,
)
from xception_jax.sweep.experiment import Experiment
from xception_jax.training.setup import make_schedule

TOLERANCE = 0.01  # relative difference from the reference arm up to which costs count as equal
# (classes, channels, training and test images) of data sets that need not be present to plan.
_WELL_KNOWN = {
    "cifar10": (10, 3, 50_000, 10_000),
    "cifar100": (100, 3, 50_000, 10_000),
    "fashion_mnist": (10, 1, 60_000, 10_000),
    "imagenet2012": (1000, 3, 1_281_167, 50_000),
}
_CLOSE_ENOUGH = 0.001
_TRIALS = 24
# A batch size by which arrays of the batch are recognized: it is a prime, and no size of a model's
# other arrays is a multiple of it.
_BATCH = 131_071


@dataclass(frozen=True)
class Cost:
    """The cost of one arm.

    Attributes:
        parameters: number of trainable parameters.
        macs: multiply-adds of one image's forward pass.
        activation_bytes: memory that each image of the batch occupies for the backward pass.
        steps: optimizer steps of a run.
        width: the config's `model.width`.
        rows: parameters and multiply-adds of every module.
        unused: settings of the arm that have no effect on its results.
    """

    parameters: int
    macs: int
    activation_bytes: int
    steps: int
    width: float
    rows: tuple[ModuleCounts, ...]
    unused: tuple[str, ...]


def arm_cost(config: Config, named: Iterable[str] = ()) -> Cost:
    """Counts the cost of an arm without compiling; a second or two for the paper's Xception.

    Args:
        config: config of a run of the arm.
        named: dotted names of the settings that define the arm.

    Raises:
        InputError: the model cannot be built, or not for images of this size.
    """
    info = dataset_info(config)
    model = _for_data(config, info)
    function = model_from_config(model)
    rows = tuple(count(function, info.image_shape))
    unused = {f"model.{name}" for name in unused_settings(model)}
    if config.train.average_decay:  # what is evaluated has the window of the averages
        unused.add("model.norm_momentum")
    return Cost(
        parameters=rows[0].parameters,
        macs=rows[0].macs,
        activation_bytes=_activation_bytes(function, info.image_shape),
        steps=make_schedule(config, info.examples["train"]).total,
        width=config.model.width,
        rows=rows,
        unused=tuple(name for name in named if name in unused),
    )


def equalize(experiment: Experiment, base: Config, *, keep: bool = False) -> Experiment:
    """Sets the widths of an experiment's arms so that each has the budget of the first arm.

    Where there are several bases, it is the budget of the first arm on the same base.

    Args:
        experiment: the experiment.
        base: the config from which its arms start.
        keep: whether widths with which an arm has the budget, as those of a record, stay.

    Raises:
        InputError: no width brings an arm within 1% of the first arm's budget.
    """
    if not experiment.equal:
        return experiment
    arms = dict(experiment.arms)
    for reference, *others in experiment.compared_arms:
        target = _budget(experiment.equal, resolve(base, arms[reference]))
        for arm in others:

            def measure(width: float, arm: str = arm) -> int:
                return _budget(experiment.equal, resolve(base, arms[arm], {"model.width": width}))

            width = resolve(base, arms[arm]).model.width
            if keep and _relative_error(measure(width), target) <= TOLERANCE:
                continue
            width, reached = _search_width(measure, target, width)
            if _relative_error(reached, target) > TOLERANCE:
                close = f"{reached:,} to {target:,} of {reference!r}"
                reason = f"arm {arm!r} comes no closer than {close}"
                raise InputError("experiment.equal", experiment.equal, reason)
            arms[arm] = {**arms[arm], "model.width": width}
    return replace(experiment, arms=arms)


def _search_width(measure: Callable[[float], int], target: int, start: float) -> tuple[float, int]:
    """The width whose cost is nearest to `target`, and that cost.

    The cost grows about as the square of the width, which gives the next width to try. Widths are
    rounded to whole features and segments: where the guess helps little, the interval is bisected.
    """
    low, high = start / 16, start * 16
    width, cost = start, measure(start)
    best_width, best_cost, last_error = width, cost, inf
    for _ in range(_TRIALS):
        if min(_relative_error(best_cost, target), high / low - 1) <= _CLOSE_ENOUGH:
            break
        low, high = (max(low, width), high) if cost < target else (low, min(high, width))
        error, guess = _relative_error(cost, target), width * (target / cost) ** 0.5
        use_guess = low < guess < high and error < last_error / 2
        width = round(guess if use_guess else (low * high) ** 0.5, 4)
        cost, last_error = measure(width), error
        if _relative_error(cost, target) < _relative_error(best_cost, target):
            best_width, best_cost = width, cost
    return best_width, best_cost


def _relative_error(measured: int, target: int) -> float:
    return abs(measured / target - 1)


def _budget(kind: str, config: Config) -> int:
    # An activation has neither parameters nor multiply-adds: arms that differ in it cost the same.
    info = dataset_info(config)
    model = _for_data(config, info)
    block = replace(model.block, intermediate_activation="none")
    return _count_budget(kind, replace(model, block=block), info.image_shape)


@lru_cache(maxsize=512)
def _count_budget(kind: str, model: ModelConfig, image_shape: tuple[int, int, int]) -> int:
    function = model_from_config(model)
    if kind == "macs":
        return count(function, image_shape)[0].macs
    return sum(prod(leaf.shape) for leaf in function.parameters)


def _for_data(config: Config, info: DatasetInfo) -> ModelConfig:
    return replace(config.model, num_classes=info.num_classes, in_channels=info.image_shape[-1])


def _activation_bytes(function: ModelFunction, image_shape: tuple[int, int, int]) -> int:
    """Bytes that the backward pass keeps for one image, before the compiler reduces them."""

    def residuals(parameters: Any, batch_stats: Any, images: Any) -> Any:
        def logits(values: Any) -> Any:
            return function.apply(values, batch_stats, images, train=True)[0]

        return jax.vjp(logits, parameters)[1]

    parameters, batch_stats = (
        {leaf.path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves}
        for leaves in (function.parameters, function.batch_stats)
    )
    images = jax.ShapeDtypeStruct((_BATCH, *image_shape), jnp.float32)
    kept = jax.tree.leaves(jax.eval_shape(residuals, parameters, batch_stats, images))
    activations = (leaf for leaf in kept if leaf.size % _BATCH == 0)
    return sum(leaf.size // _BATCH * leaf.dtype.itemsize for leaf in activations)


def dataset_info(config: Config) -> DatasetInfo:
    """Sizes and classes of the config's data set, which need not be present if it is well known.

    The classes of an absent data set are named by their numbers.

    Raises:
        InputError: the data set is neither present nor well known, or the config asks for what it
            does not have.
    """
    return _read_info(config.data)


@lru_cache(maxsize=4)
def _read_info(data: DataConfig) -> DatasetInfo:
    name, size = data.name, data.image_size
    try:
        source = load(**data.source(seed=0))
    except InputError as error:
        # What says that it is absent; a directory that the user did not name may be out of reach.
        absent = {"data.name", "data.directory"} if data.directory is None else {"data.name"}
        if name not in _WELL_KNOWN or error.field not in absent:
            raise
        classes, channels, train, test = _WELL_KNOWN[name]
        held_out = round(train * data.validation_fraction)
        rest = train - held_out
        if (data.train_examples or 0) > rest:
            reason = f"more than the {rest} training examples of {name}"
            raise InputError("data.train_examples", data.train_examples, reason, rest) from error
        examples = {"train": data.train_examples or rest, "valid": held_out, "test": test}
        return DatasetInfo(name, tuple(map(str, range(classes))), (size, size, channels), examples)
    return describe_source(source, size)
