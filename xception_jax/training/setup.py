"""From a config to what it trains: the data, the program and the schedule of a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from xception_jax.data import DatasetInfo, Pipeline, open_pipeline
from xception_jax.errors import InputError
from xception_jax.models import ModelFunction, model_function
from xception_jax.pretrained.importing import initial_from
from xception_jax.training.hyperparameters import shared_settings
from xception_jax.training.objective import make_task
from xception_jax.training.optimizer import OptimizerSettings
from xception_jax.training.sharding import DATA_AXIS, Layout, require_divisible
from xception_jax.training.step import StepSpec

_STEPS_PER_DISPATCH = 16


@dataclass(frozen=True)
class Schedule:
    """When things happen, in optimizer steps.

    What recurs every so many epochs has a period of a broken number of steps, and each time is
    rounded by itself: the tenth half epoch is the end of the fifth epoch, not four steps before.

    Attributes:
        total: of the run.
        log: between rows of training metrics.
        evaluate: between validations; the last step is always validated.
        checkpoint: between checkpoints; the last step always leaves one. Those that fall together
            with a validation are the ones that can be kept as the best.
        examples_per_step: the batch size.
        examples_per_epoch: the size of the training split.
    """

    total: int
    log: int
    evaluate: float
    checkpoint: float
    examples_per_step: int
    examples_per_epoch: int

    def epoch(self, step: int) -> float:
        """Passes over the training split after `step` steps."""
        return step * self.examples_per_step / self.examples_per_epoch

    def due(self, every: float, step: int) -> bool:
        """Whether what happens `every` so many steps happens after `step`."""
        return _times(every, step) > _times(every, step - 1) or step == self.total

    def rows(self, split: str, step: int) -> int:
        """How many rows the log has of a split ("train" or "valid") after `step` steps."""
        every = self.log if split == "train" else self.evaluate
        last = step == self.total and _times(every, step) == _times(every, step - 1)
        return _times(every, step) + last


def _times(every: float, step: int) -> int:
    """How many multiples of `every`, rounded to whole steps, are at most `step`."""
    return floor((step + 0.5) / every)


def open_data(config: ConfigDict) -> Pipeline:
    """This host's pipeline of the run's data set.

    Raises:
        InputError: see `data.open_pipeline`.
    """
    return open_pipeline(
        **config.data,
        batch_size=config.train.batch_size,
        parts=config.train.accumulation_steps if config.model.norm_group_size else 1,
        seed=config.seed,
        host=jax.process_index(),
        hosts=jax.process_count(),
    )


def make_schedule(config: ConfigDict, examples: int) -> Schedule:
    """Epochs of `examples` training examples in steps, at least one."""
    batch = config.train.batch_size

    def steps(epochs: float) -> float:
        return max(1.0, epochs * examples / batch)

    return Schedule(
        total=round(steps(config.train.epochs)),
        log=config.train.log_every_steps,
        evaluate=steps(config.train.evaluate_every_epochs),
        checkpoint=steps(config.checkpoint.every_epochs),
        examples_per_step=batch,
        examples_per_epoch=examples,
    )


def make_model(config: ConfigDict, info: DatasetInfo, activations: Sequence[str]) -> ModelFunction:
    """The config's model for the data set's images and classes, checked to take them.

    The dropout rate comes at run time, and so does the choice among several activations.

    Raises:
        InputError: the model cannot be built, or not for images of this size.
    """
    one = activations[0] if len(activations) == 1 else tuple(activations)
    settings = dict(config.model.items()) | {"intermediate_activation": one, "dropout": 0.0}
    del settings["name"]
    function = model_function(
        config.model.name,
        num_classes=info.num_classes,
        in_channels=info.image_shape[-1],
        axis_name=DATA_AXIS,
        **settings,
    )
    images = jax.ShapeDtypeStruct((1, *info.image_shape), jnp.float32)
    try:
        jax.eval_shape(
            lambda p, s, x: function.apply(p, s, x, train=False), *function.shapes(), images
        )
    except ValueError as error:
        raise InputError("data.image_size", config.data.image_size, str(error)) from error
    return function


def make_step_spec(
    config: ConfigDict, info: DatasetInfo, mesh: Mesh, activations: Sequence[str] | None = None
) -> StepSpec:
    """All that is fixed in the compiled code of a run, or of a pack.

    Args:
        config: of the run, or of any of the pack.
        info: of its data.
        mesh: of its devices.
        activations: the intermediate activations of the pack; None: the run's own.

    Raises:
        InputError: a setting that does not fit the model, the data or the devices.
    """
    train, optimizer = config.train, config.optimizer
    if activations is None:
        activations = (config.model.intermediate_activation,)
    require_divisible("train.batch_size", train.batch_size, mesh, train.accumulation_steps)
    _require_groups(config, mesh)
    schedule = make_schedule(config, info.examples["train"])
    steps_per_epoch = schedule.examples_per_epoch / schedule.examples_per_step
    settings = dict(optimizer.items())
    decay_epochs, warmup_epochs = settings.pop("decay_epochs"), settings.pop("warmup_epochs")
    del settings["learning_rate"], settings["reference_batch_size"]
    settings["weight_decay"] = settings["weight_decay"] > 0
    model = make_model(config, info, activations)
    if train.initial_weights is not None:
        _require_weights(train.initial_weights, model)
    decay_examples = settings.pop("decay_examples") or decay_epochs * schedule.examples_per_epoch
    return StepSpec(
        model=model,
        task=make_task(info, label_smoothing=train.label_smoothing),
        optimizer=OptimizerSettings(
            **settings,
            decay_steps=max(1, round(decay_examples / train.batch_size)),
            warmup_steps=round(warmup_epochs * steps_per_epoch),
            total_steps=schedule.total,
        ),
        average_decay=train.average_decay,
        accumulation_steps=train.accumulation_steps,
        augmentation=config.data.augmentation,
        padding=config.data.padding,
        dropout=config.model.dropout > 0,
        grouped=config.model.norm_group_size is not None,
        shard_optimizer=train.shard_optimizer,
        settings=json.dumps([shared_settings(config), repr(info), activations], sort_keys=True),
    )


def _require_weights(path: str, model: ModelFunction) -> None:
    """Reads initial weights to see that a run can start from them, before anything is made."""
    try:
        initial_from(path, model)
    except InputError as error:
        raise InputError("train.initial_weights", path, str(error)) from error


def _require_groups(config: ConfigDict, mesh: Mesh) -> None:
    """Raises `InputError` unless groups of batch normalization and devices' rows nest."""
    size, devices = config.model.norm_group_size, mesh.shape[DATA_AXIS]
    rows = config.train.batch_size // (devices * config.train.accumulation_steps)
    within = [part for part in range(2, rows + 1) if rows % part == 0]
    across = [rows * count for count in range(2, devices + 1) if devices % count == 0]
    if size is not None and size not in within + across:
        reason = f"must divide the {rows} rows of a device, or be those of 2 or more devices"
        near = min(within + across, key=lambda valid: abs(valid - size), default=None)
        raise InputError("model.norm_group_size", size, reason, near)


def evaluation_batch_size(config: ConfigDict, layout: Layout) -> int:
    """Of each run: the config's share, raised to a multiple of the devices that share a batch.

    Padding changes no result.
    """
    devices = layout.mesh.shape[DATA_AXIS]
    return ceil(config.evaluation.batch_size / (layout.slots or 1) / devices) * devices


def steps_per_dispatch(config: ConfigDict, mesh: Mesh, *, device_data: bool) -> int:
    """The config's, or by where the program and the data are.

    XLA:CPU runs the same operations inside a loop several times slower, and its host has nothing
    else to do; images from the host come one batch at a time, so that few of them are in memory.
    """
    if config.train.steps_per_dispatch is not None:
        return int(config.train.steps_per_dispatch)
    platform = mesh.devices.flat[0].platform
    return _STEPS_PER_DISPATCH if device_data and platform != "cpu" else 1
