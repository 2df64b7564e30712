"""Set-up of a run from its config: the data, schedule, model and step, and their checks."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from xception_jax.config import Config, shared_settings
from xception_jax.data import DatasetInfo, Pipeline, open_pipeline
from xception_jax.errors import InputError
from xception_jax.models import ModelFunction, model_from_config
from xception_jax.training.objective import make_task
from xception_jax.training.optimizer import optimizer_spec, require_optimizer
from xception_jax.training.sharding import DATA_AXIS, Layout, require_divisible_batch
from xception_jax.training.step import StepSpec

_STEPS_PER_DISPATCH = 16


@dataclass(frozen=True)
class Schedule:
    """The optimizer steps at which a run logs, validates and saves.

    A period in epochs need not be a whole number of steps. Each of its multiples is rounded by
    itself: the tenth half epoch is the end of the fifth epoch, not four steps before.

    Attributes:
        total: number of steps of the run.
        log: steps between rows of training metrics.
        evaluate: steps between validations; the last step is always validated.
        checkpoint: steps between checkpoints; the last step always leaves one. Those that coincide
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
        """The number of passes over the training split after `step` steps."""
        return step * self.examples_per_step / self.examples_per_epoch

    def due(self, period: float, step: int) -> bool:
        """Whether what has this period is due after `step`; after the last step everything is."""
        return _multiples(period, step) > _multiples(period, step - 1) or step == self.total

    def rows(self, split: str, step: int) -> int:
        """The number of rows that the log has of "train" or "valid" after `step` steps."""
        period = self.log if split == "train" else self.evaluate
        multiples = _multiples(period, step)
        last = step == self.total and multiples == _multiples(period, step - 1)
        return multiples + last


def _multiples(period: float, step: int) -> int:
    """The number of multiples of `period`, rounded to whole steps, that are at most `step`."""
    return floor((step + 0.5) / period)


def open_data(config: Config) -> Pipeline:
    """This host's pipeline of the run's data set.

    Args:
        config: config of the run.

    Raises:
        InputError: see `data.open_pipeline`.
    """
    data = config.data
    return open_pipeline(
        **data.source(config.seed),
        image_size=data.image_size,
        pipeline=data.pipeline,
        augmentation=data.augmentation,
        padding=data.padding,
        corrupt_images=data.corrupt_images,
        threads=data.threads,
        batch_size=config.train.batch_size,
        parts=config.train.accumulation_steps if config.model.block.norm.group_size else 1,
        seed=config.seed,
        host=jax.process_index(),
        hosts=jax.process_count(),
    )


def make_schedule(config: Config, examples: int) -> Schedule:
    """The schedule of a run, its epochs turned into steps, each period at least one.

    Args:
        config: config of the run.
        examples: number of training examples.
    """
    batch_size = config.train.batch_size

    def steps(epochs: float) -> float:
        return max(1.0, epochs * examples / batch_size)

    return Schedule(
        total=round(steps(config.train.epochs)),
        log=config.train.log_every_steps,
        evaluate=steps(config.train.evaluate_every_epochs),
        checkpoint=steps(config.checkpoint.every_epochs),
        examples_per_step=batch_size,
        examples_per_epoch=examples,
    )


def data_notes(config: Config, pipeline: Pipeline) -> tuple[str, ...]:
    """What people should know of a run's data before it trains, a sentence each.

    Args:
        config: config of the run.
        pipeline: its data.
    """
    batch_size, examples = config.train.batch_size, pipeline.info.examples["train"]
    if batch_size <= examples:
        return pipeline.fingerprint().notes
    note = (
        f"a batch (train.batch_size={batch_size}) is larger than the training split, which has "
        f"{examples:,} examples: it holds some of them more than once, and a step is more than an "
        "epoch"
    )
    return (*pipeline.fingerprint().notes, note)


def require_trainable(config: Config, info: DatasetInfo, mesh: Mesh) -> None:
    """Checks a run against its data, model and devices, before anything compiles.

    Args:
        config: config of the run.
        info: description of its data set.
        mesh: the devices it trains on.

    Raises:
        InputError: a setting that does not fit the others, with the nearest value that does.
    """
    train = config.train
    require_divisible_batch(train.batch_size, mesh, train.accumulation_steps)
    _require_groups(config, mesh)
    if config.model.block.dtype == "float64":
        reason = "must be one of float32, bfloat16 in training"
        raise InputError("model.dtype", "float64", reason, "float32")
    require_optimizer(config.optimizer, sharded=train.shard_optimizer)
    make_task(info, label_smoothing=train.label_smoothing)
    function = make_model(config, info)
    images = jax.ShapeDtypeStruct((1, *info.image_shape), jnp.float32)
    try:
        jax.eval_shape(
            lambda p, s, x: function.apply(p, s, x, train=False), *function.shapes(), images
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError("data.image_size", config.data.image_size, str(error)) from error


def activations_of(configs: Iterable[Config]) -> tuple[str, ...]:
    """The intermediate activations of the runs of a pack, sorted: other packs share the program.

    Args:
        configs: configs of the runs.
    """
    return tuple(sorted({config.model.block.intermediate_activation for config in configs}))


def make_model(
    config: Config, info: DatasetInfo, activations: Sequence[str] | None = None
) -> ModelFunction:
    """The model of a run or a pack, for the images and classes of its data set.

    The dropout rate is given at run time, and so is the index of the activation among several.

    Args:
        config: config of the run, or of any run of a pack.
        info: description of the data set.
        activations: the intermediate activations of the pack; None: the run's own.

    Raises:
        InputError: the model cannot be built.
    """
    model, block = config.model, config.model.block
    activations = tuple(activations or (block.intermediate_activation,))
    block = replace(
        block,
        intermediate_activation=activations[0],
        activation_choices=activations if len(activations) > 1 else (),
        norm=replace(block.norm, axis_name=DATA_AXIS),
    )
    return model_from_config(
        replace(
            model,
            block=block,
            dropout=0.0,
            num_classes=info.num_classes,
            in_channels=info.image_shape[-1],
        )
    )


def make_step_spec(
    config: Config, info: DatasetInfo, activations: Sequence[str] | None = None
) -> StepSpec:
    """The step of a run or a pack that `require_trainable` has checked: what its code fixes.

    Args:
        config: config of the run, or of any run of a pack.
        info: description of the data set.
        activations: the intermediate activations of the pack; None: the run's own.

    Raises:
        InputError: the model cannot be built.
    """
    train = config.train
    activations = tuple(activations or (config.model.block.intermediate_activation,))
    schedule = make_schedule(config, info.examples["train"])
    return StepSpec(
        model=make_model(config, info, activations),
        task=make_task(info, label_smoothing=train.label_smoothing),
        optimizer=optimizer_spec(
            config.optimizer,
            batch_size=train.batch_size,
            examples=schedule.examples_per_epoch,
            total_steps=schedule.total,
        ),
        average_decay=train.average_decay,
        accumulation_steps=train.accumulation_steps,
        augmentation=config.data.augmentation,
        padding=config.data.padding,
        dropout=config.model.dropout > 0,
        grouped=config.model.block.norm.group_size is not None,
        shard_optimizer=train.shard_optimizer,
        settings=json.dumps([shared_settings(config), repr(info), activations], sort_keys=True),
    )


def _require_groups(config: Config, mesh: Mesh) -> None:
    """Raises `InputError` unless groups of batch normalization divide, or join, devices' rows."""
    size, devices = config.model.block.norm.group_size, mesh.shape[DATA_AXIS]
    rows = config.train.batch_size // (devices * config.train.accumulation_steps)
    within = [part for part in range(2, rows + 1) if rows % part == 0]
    across = [rows * count for count in range(2, devices + 1) if devices % count == 0]
    if size is not None and size not in within + across:
        reason = f"must divide the {rows} rows of a device, or be those of 2 or more devices"
        near = min(within + across, key=lambda valid: abs(valid - size), default=None)
        raise InputError("model.norm_group_size", size, reason, near)


def evaluation_batch_size(config: Config, layout: Layout) -> int:
    """The number of examples of each run in an evaluation step.

    The config's number is shared by the runs of a pack, and raised to a multiple of the devices
    that share a batch. Padding changes no result.
    """
    devices = layout.mesh.shape[DATA_AXIS]
    return ceil(config.evaluation.batch_size / (layout.slots or 1) / devices) * devices


def steps_per_dispatch(config: Config, mesh: Mesh, *, device_data: bool) -> int:
    """The largest number of training steps per dispatched call.

    The config says it, or it follows from where the program and the data are: XLA:CPU runs the same
    operations inside a loop several times slower, and its host has nothing else to do; images from
    the host come one batch at a time, so that few of them are in memory.

    Args:
        config: config of the run.
        mesh: the devices it trains on.
        device_data: whether the data set is kept on the devices.
    """
    if config.train.steps_per_dispatch is not None:
        return int(config.train.steps_per_dispatch)
    platform = mesh.devices.flat[0].platform
    return _STEPS_PER_DISPATCH if device_data and platform != "cpu" else 1
