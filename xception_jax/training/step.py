"""The training and the evaluation step of one run: pure functions, which `compile` compiles."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from xception_jax.data import augment, gather, normalize
from xception_jax.models import ModelFunction
from xception_jax.models.functional import Params
from xception_jax.training.objective import Task
from xception_jax.training.optimizer import OptimizerSpec
from xception_jax.training.sharding import DATA_AXIS, gather_shards, local_shards
from xception_jax.training.state import Hyperparameters, Sums, TrainState, polyak, zero_sums

Arrays = Mapping[str, Array]


class Outcome(NamedTuple):
    """What a training step says of its run, beside the next state; of a pack, with a run axis.

    Attributes:
        active: whether the run continues: the step was finite, as were those before it.
        learning_rate: learning rate of the step, also where it was not finite.
        step: number of steps that the next state has taken.
    """

    active: Bool[Array, "*runs"]
    learning_rate: Float[Array, "*runs"]
    step: Int[Array, "*runs"]


class BatchGradients(NamedTuple):
    """What the rows of a batch, or of a part of one, say of a run.

    Attributes:
        gradients: gradient of the mean loss.
        current_stats: the rows' own statistics, see `ModelFunction.apply_in_training`.
        sums: the summed metrics.
    """

    gradients: Params
    current_stats: Params
    sums: Sums


@dataclass(frozen=True)
class StepSpec:
    """All that is fixed in the compiled code of a run; runs with equal specs share that code.

    The seed and the other `Hyperparameters` are not in it: they are arguments.

    Attributes:
        model: the model as a pure function.
        task: the loss and the metrics.
        optimizer: the optimizer and its schedule.
        average_decay: decay of the Polyak averages of parameters and batch statistics; 0: none are
            kept.
        accumulation_steps: parts of a batch that are computed one after another.
        augmentation: name of the augmentation of training images.
        padding: pixels by which the augmentation may move an image.
        dropout: whether the model drops features in training.
        settings: the settings from which all the rest was made, as canonical text: equal texts
            mean equal specs, in every process of one version. Empty: not known.
        grouped: whether batch normalization is over groups of consecutive rows; the parts of a
            batch are then consecutive rows as well.
        shard_optimizer: whether each device of the data axis keeps and updates a shard of the
            optimizer's state and of the averages (ZeRO's first stage, Rajbhandari et al. 2020).
    """

    model: ModelFunction
    task: Task
    optimizer: OptimizerSpec
    average_decay: float
    accumulation_steps: int
    augmentation: str
    padding: int
    dropout: bool
    settings: str = field(default="", compare=False, repr=False)
    grouped: bool = False
    shard_optimizer: bool = False

    @property
    def consecutive_parts(self) -> int:
        """The number of parts into which the global batch is cut; a device has rows of each."""
        return self.accumulation_steps if self.grouped else 1

    def init(self, seed: int | Int[Array, ""]) -> TrainState:
        """The state before the first step, as drawn from `seed`."""
        return self._first_state(*self.model.init(stream_key(seed, "initial values")))

    def shapes(self) -> TrainState:
        """The shapes and types of a state."""
        state: TrainState = jax.eval_shape(self._first_state, *self.model.shapes())
        return state

    def _first_state(self, parameters: Params, batch_stats: Params) -> TrainState:
        averaged = parameters | batch_stats if self.average_decay else {}
        averages = jax.tree.map(jnp.copy, averaged)
        optimizer = self.optimizer.transformation(0.0, 0.0).init(parameters)
        step = jnp.zeros((), jnp.int32)
        sums = jax.tree.map(jnp.asarray, zero_sums())
        return TrainState(step, parameters, batch_stats, averages, optimizer, sums)


def stream_key(seed: int | Int[Array, ""], stream: str) -> Key[Array, ""]:
    """The key of one named stream of random numbers; fold in a step, then a row."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))


def _example_keys(
    seed: Int[Array, ""], stream: str, step: Int[Array, ""], rows: Int[Array, " batch"]
) -> Key[Array, " batch"]:
    """A key for each row, a function of the row's position in the global batch."""
    key = jax.random.fold_in(stream_key(seed, stream), step)
    return jax.vmap(partial(jax.random.fold_in, key))(rows)


def _positions(count: int, parts: int) -> Int[Array, " batch"]:
    """The positions of this device's `count` rows in a global batch that is made of `parts`."""
    rows_per_part = count // parts
    part_starts = jnp.arange(parts) * (rows_per_part * lax.axis_size(DATA_AXIS))
    within_part = lax.axis_index(DATA_AXIS) * rows_per_part + jnp.arange(rows_per_part)
    return jnp.reshape(part_starts[:, None] + within_part, -1)


def augmented_images(
    images: UInt8[Array, "batch height width channels"],
    seed: Int[Array, ""],
    step: Int[Array, ""],
    positions: Int[Array, " batch"],
    *,
    augmentation: str,
    padding: int,
) -> UInt8[Array, "batch height width channels"]:
    """The images of a batch as the model gets them, before they are normalized.

    Args:
        images: the images at these positions of the global batch.
        seed: the run's seed.
        step: number of steps before this one.
        positions: positions of the images in the global batch.
        augmentation: see `StepSpec`.
        padding: see `StepSpec`.
    """
    keys = _example_keys(seed, "augmentation", step, positions)
    return augment(images, keys, augmentation=augmentation, padding=padding)


def training_rows(
    step_spec: StepSpec,
    hparams: Hyperparameters,
    step: Int[Array, ""],
    device_data: Arrays,
    batch: Arrays,
) -> dict[str, Array]:
    """A device's rows as the model gets them in the step after `step`.

    Returns:
        `image`, augmented and normalized; `label`; and, if the model drops features, `dropout`: a
        key for each row.
    """
    images, labels = gather(device_data, batch)
    positions = _positions(len(labels), step_spec.consecutive_parts)
    augmented = augmented_images(
        images,
        hparams.seed,
        step,
        positions,
        augmentation=step_spec.augmentation,
        padding=step_spec.padding,
    )
    rows: dict[str, Array] = {"image": normalize(augmented), "label": labels}
    if step_spec.dropout:
        rows["dropout"] = _example_keys(hparams.seed, "dropout", step, positions)
    return rows


def gradients_of(
    step_spec: StepSpec,
    hparams: Hyperparameters,
    parameters: Params,
    batch_stats: Params,
    batch: Arrays,
) -> BatchGradients:
    """The gradient of the mean loss over a device's rows, their statistics and summed metrics."""

    def mean_loss(parameters: Params) -> tuple[Array, tuple[Array, Params]]:
        logits, current_stats = step_spec.model.apply_in_training(
            parameters,
            batch_stats,
            batch["image"],
            dropout_keys=batch.get("dropout"),
            dropout_rate=hparams.dropout if step_spec.dropout else None,
            activation_index=hparams.activation_index,
        )
        return jnp.mean(step_spec.task.loss(logits, batch["label"])), (logits, current_stats)

    value_and_grad = jax.value_and_grad(mean_loss, has_aux=True)
    (loss, (logits, current_stats)), gradients = value_and_grad(parameters)
    count = jnp.float32(len(logits))
    correct = {f"top{k}": step_spec.task.in_top(logits, batch["label"], k) for k in (1, 5)}
    hits = {name: jnp.sum(values, dtype=jnp.float32) for name, values in correct.items()}
    return BatchGradients(
        gradients, current_stats, {"examples": count, "loss": loss * count, **hits}
    )


def train_step(
    step_spec: StepSpec,
    state: TrainState,
    active: Bool[Array, ""],
    device_data: Arrays,
    batch: Arrays,
    *,
    hparams: Hyperparameters,
) -> tuple[TrainState, Outcome]:
    """One optimizer step of one run, as one device of the data axis sees it (inside `shard_map`).

    A step that is not finite leaves the state unchanged and ends the run: the next step would start
    from the same state with another batch, so the caller hands the returned `active` to it.

    Args:
        step_spec: what is fixed in the compiled step.
        state: the state, equal on all devices but for what `StepSpec.shard_optimizer` shards.
        active: whether the run continues; if not, its state stays unchanged.
        device_data: arrays of a data set that is kept on the device; empty: there is none.
        batch: this device's rows of the batch.
        hparams: the run's hyperparameters.

    Returns:
        The next state, and the outcome of this step.
    """
    rows = training_rows(step_spec, hparams, state.step, device_data, batch)
    (gradients, current_stats, sums), batch_stats = _accumulate(step_spec, hparams, state, rows)
    # check_vma is off, so each device holds the gradient of its own rows' mean loss: average them.
    if lax.axis_size(DATA_AXIS) > 1:  # XLA:CPU copies even what comes of one device
        gradients, sums = lax.pmean(gradients, DATA_AXIS), lax.psum(sums, DATA_AXIS)
    # A loss can be finite where a variance is not: what is normalized by it is zero.
    checked = jnp.concatenate([sums["loss"][None], *batch_stats.values()])
    active &= jnp.all(jnp.isfinite(checked)) & jnp.isfinite(optax.tree.norm(gradients))
    optimizer = step_spec.optimizer.transformation(hparams.learning_rate, hparams.weight_decay)
    sharded = step_spec.shard_optimizer
    shard, unshard = (local_shards, gather_shards) if sharded else (_unchanged, _unchanged)
    parameter_shards = shard(state.parameters)
    updates, optimizer_state = optimizer.update(
        shard(step_spec.optimizer.clipped(gradients)), state.optimizer, parameter_shards
    )
    parameter_shards = optax.apply_updates(parameter_shards, updates)
    # The statistics are averaged with the same shares as the weights that they belong to. Averages
    # of the moving ones would lag behind twice.
    averaged = parameter_shards | shard(current_stats)
    averages = polyak(state.averages, averaged, state.step, step_spec.average_decay)
    parameters = unshard(parameter_shards, state.parameters)
    sums = jax.tree.map(jnp.add, state.sums, sums)
    after = TrainState(state.step + 1, parameters, batch_stats, averages, optimizer_state, sums)
    after = jax.tree.map(partial(jnp.where, active), after, state)
    rate = hparams.learning_rate * step_spec.optimizer.factor_at()(state.step)
    return after, Outcome(active, jnp.float32(rate), after.step)


def _unchanged(tree: Params, _: Params | None = None) -> Params:
    return tree


def _accumulate(
    step_spec: StepSpec, hparams: Hyperparameters, state: TrainState, rows: Arrays
) -> tuple[BatchGradients, Params]:
    """The gradients of the whole batch, and the moving statistics after it.

    They are computed in parts one after another. Batch normalization over groups of rows gives the
    same result as for the whole batch at once: no group has rows of two parts, and the moving
    statistics are updated once, by the mean over the parts. Otherwise each part is normalized by
    its own mean and variance, over all devices, and the moving statistics are updated once per
    part.
    """
    parts, move = step_spec.accumulation_steps, step_spec.model.move_stats
    if parts == 1:
        of_batch = gradients_of(step_spec, hparams, state.parameters, state.batch_stats, rows)
        return of_batch, move(state.batch_stats, of_batch.current_stats)
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), dict(rows))

    def add_part(carry: Any, part: Arrays) -> tuple[Any, None]:
        totals, moving = carry
        of_part = gradients_of(step_spec, hparams, state.parameters, moving, part)
        if not step_spec.grouped:
            moving = move(moving, of_part.current_stats)
        return (jax.tree.map(jnp.add, totals, of_part), moving), None

    zeros = partial(jax.tree.map, jnp.zeros_like)
    sums = jax.tree.map(jnp.asarray, zero_sums())
    totals = BatchGradients(zeros(state.parameters), zeros(state.batch_stats), sums)
    (totals, moving), _ = lax.scan(add_part, (totals, state.batch_stats), split)
    gradients, current = jax.tree.map(lambda x: x / parts, (totals.gradients, totals.current_stats))
    if step_spec.grouped:
        moving = move(state.batch_stats, current)
    return BatchGradients(gradients, current, totals.sums), moving


def evaluation_step(
    step_spec: StepSpec,
    parameters: Params,
    batch_stats: Params,
    device_data: Arrays,
    batch: Arrays,
    *,
    hparams: Hyperparameters,
) -> dict[str, Array]:
    """The task's `outputs` for each example of one run, arrays [batch, …]."""
    images, labels = gather(device_data, batch)
    logits, _ = step_spec.model.apply(
        parameters,
        batch_stats,
        normalize(images),
        train=False,
        activation_index=hparams.activation_index,
    )
    return step_spec.task.outputs(logits, labels)
