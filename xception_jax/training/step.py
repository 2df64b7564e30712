"""The training and the evaluation step of one run: pure functions (compiled by `compilation`)."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Int, Key

from xception_jax.data import augment, gather, normalize
from xception_jax.models import ModelFunction
from xception_jax.models.functional import Params
from xception_jax.training.objective import Task
from xception_jax.training.optimizer import OptimizerSpec
from xception_jax.training.sharding import DATA_AXIS, shared_axis
from xception_jax.training.state import Hyperparameters, Sums, TrainState, polyak, zero_sums

Batch = Mapping[str, Array]
Outcome = dict[str, Array]


@dataclass(frozen=True)
class StepSpec:
    """All that is fixed in the compiled code of a run; runs with equal programs share the code.

    The seed and the other `Hyperparameters` are not in it: they are arguments.

    Attributes:
        settings: what all the rest was made from, as text: programs of equal settings are equal, in
            every process of one version. Empty where that is not known.
        grouped: batch normalization is over groups of consecutive rows, and so the parts of a batch
            are consecutive rows as well.
        shard_optimizer: each device of the data axis keeps and updates a part of the optimizer's
            state and of the averages (as ZeRO's first stage, Rajbhandari et al. 2020).
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
        """Parts of the global batch of which a device has rows, one after another."""
        return self.accumulation_steps if self.grouped else 1

    def init(self, seed: int | Int[Array, ""]) -> TrainState:
        """The state before the first step."""
        return self._begin(*self.model.init(stream_key(seed, "initial values")))

    def shapes(self) -> TrainState:
        """Of that state."""
        state: TrainState = jax.eval_shape(self._begin, *self.model.shapes())
        return state

    def _begin(self, parameters: Params, batch_stats: Params) -> TrainState:
        averages = jax.tree.map(jnp.copy, parameters) if self.average_decay else {}
        optimizer = self.optimizer.transformation(0.0, 0.0).init(parameters)
        step = jnp.zeros((), jnp.int32)
        sums = jax.tree.map(jnp.asarray, zero_sums())
        return TrainState(step, parameters, batch_stats, averages, optimizer, sums)


def stream_key(seed: int | Int[Array, ""], stream: str) -> Key[Array, ""]:
    """The key of one named stream of randomness; fold in a step, then a row."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))


def _example_keys(
    seed: Int[Array, ""], stream: str, step: Int[Array, ""], rows: Int[Array, " batch"]
) -> Key[Array, " batch"]:
    """A key for each row, by its place in the global batch."""
    key = jax.random.fold_in(stream_key(seed, stream), step)
    return jax.vmap(partial(jax.random.fold_in, key))(rows)


def _positions(count: int, parts: int) -> Int[Array, " batch"]:
    """Where this device's `count` rows are in the global batch, or in the parts it is made of."""
    each = count // parts
    first = jnp.arange(parts) * (each * lax.axis_size(DATA_AXIS))
    rows = lax.axis_index(DATA_AXIS) * each + jnp.arange(each)
    return jnp.reshape(first[:, None] + rows, -1)


def training_rows(
    step_spec: StepSpec,
    hparams: Hyperparameters,
    step: Int[Array, ""],
    device_data: Batch,
    batch: Batch,
) -> dict[str, Array]:
    """What the model is given in the step after `step`: `image`, `label`, and keys of `dropout`."""
    images, labels = gather(device_data, batch)
    positions = _positions(len(labels), step_spec.consecutive_parts)
    keys = _example_keys(hparams.seed, "augmentation", step, positions)
    augmented = augment(
        images, keys, augmentation=step_spec.augmentation, padding=step_spec.padding
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
    batch: Batch,
) -> tuple[Params, Params, Sums]:
    """Gradient of the mean loss, new statistics and summed metrics of one device's rows."""

    def loss(parameters: Params) -> tuple[Array, tuple[Array, Params]]:
        logits, new = step_spec.model.apply(
            parameters,
            batch_stats,
            batch["image"],
            train=True,
            dropout_keys=batch.get("dropout"),
            dropout_rate=hparams.dropout if step_spec.dropout else None,
            activation_index=hparams.activation_index,
        )
        return jnp.mean(step_spec.task.loss(logits, batch["label"])), (logits, new)

    (mean, (logits, batch_stats)), gradients = jax.value_and_grad(loss, has_aux=True)(parameters)
    count = jnp.float32(len(logits))
    right = {f"top{k}": step_spec.task.in_top(logits, batch["label"], k) for k in (1, 5)}
    hits = {name: jnp.sum(values, dtype=jnp.float32) for name, values in right.items()}
    return gradients, batch_stats, {"examples": count, "loss": mean * count, **hits}


def train_step(
    step_spec: StepSpec,
    state: TrainState,
    active: Bool[Array, ""],
    device_data: Batch,
    batch: Batch,
    *,
    hparams: Hyperparameters,
) -> tuple[TrainState, Outcome]:
    """One optimizer step of one run, as one device of the data axis sees it (inside `shard_map`).

    A step that is not finite leaves the state as it was. The step after it would be another
    computation from the same state, so whoever calls passes `active` on.

    Args:
        step_spec: what is compiled in.
        state: the same on every device, but for what `StepSpec.shard_optimizer` deals out.
        active: whether the run goes on; if not, its state stays as it is.
        device_data: data that lie on the device, or nothing.
        batch: this device's rows.
        hparams: of this run.

    Returns:
        The next state, and: whether the run is still `active`, the `step` of that state, and the
        `learning_rate` of the last step, be it the one that was not finite.
    """
    rows = training_rows(step_spec, hparams, state.step, device_data, batch)
    gradients, batch_stats, sums = _accumulate(step_spec, hparams, state, rows)
    # check_vma is off, so each device holds the gradient of its own rows' mean loss: average them.
    if lax.axis_size(DATA_AXIS) > 1:  # XLA:CPU copies even what comes of one device
        gradients, sums = lax.pmean(gradients, DATA_AXIS), lax.psum(sums, DATA_AXIS)
    # A loss can be finite where a variance is not: what is normalized by it is zero.
    moments = jnp.concatenate([sums["loss"][None], *batch_stats.values()])
    active &= jnp.all(jnp.isfinite(moments)) & jnp.isfinite(optax.tree.norm(gradients))
    optimizer = step_spec.optimizer.transformation(hparams.learning_rate, hparams.weight_decay)
    part, whole = (_part, _whole) if step_spec.shard_optimizer else (_as_it_is, _as_it_is)
    before = part(state.parameters)
    updates, optimizer_state = optimizer.update(
        part(step_spec.optimizer.clipped(gradients)), state.optimizer, before
    )
    own_parameters = optax.apply_updates(before, updates)
    averages = polyak(state.averages, own_parameters, state.step, step_spec.average_decay)
    parameters = whole(own_parameters, state.parameters)
    sums = jax.tree.map(jnp.add, state.sums, sums)
    after = TrainState(state.step + 1, parameters, batch_stats, averages, optimizer_state, sums)
    after = jax.tree.map(partial(jnp.where, active), after, state)
    rate = hparams.learning_rate * step_spec.optimizer.factor_at()(state.step)
    return after, {"active": active, "step": after.step, "learning_rate": jnp.float32(rate)}


def _part(tree: Params) -> Params:
    """This device's part of arrays that can be dealt out; see `Layout.shard_spec`."""
    devices = lax.axis_size(DATA_AXIS)

    def part(x: Array) -> Array:
        if (axis := shared_axis(x.shape, devices)) is None:
            return x
        size = x.shape[axis] // devices
        return lax.dynamic_slice_in_dim(x, lax.axis_index(DATA_AXIS) * size, size, axis)

    return jax.tree.map(part, tree)


def _whole(parts: Params, like: Params) -> Params:
    """The arrays of the shapes of `like` of which each device has its part."""

    def whole(part: Array, like: Array) -> Array:
        axis = shared_axis(like.shape, lax.axis_size(DATA_AXIS))
        return part if axis is None else lax.all_gather(part, DATA_AXIS, axis=axis, tiled=True)

    return jax.tree.map(whole, parts, like)


def _as_it_is(tree: Params, _: Params | None = None) -> Params:
    return tree


def _accumulate(
    step_spec: StepSpec, hparams: Hyperparameters, state: TrainState, rows: Batch
) -> tuple[Params, Params, Sums]:
    """Gradients of the whole batch, computed in parts one after another.

    Batch normalization over groups of rows gives what the whole batch at once does: no group has
    rows of two parts, and the moving statistics are updated once, by the mean over the parts.
    Otherwise it sees one part at a time: each part is normalized by its own mean and variance, over
    all devices, and the moving ones are updated once per part.
    """
    parts = step_spec.accumulation_steps
    if parts == 1:
        return gradients_of(step_spec, hparams, state.parameters, state.batch_stats, rows)
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), dict(rows))

    def body(carry: Any, part: Batch) -> tuple[Any, None]:
        total, before = carry
        gradients, after, sums = gradients_of(step_spec, hparams, state.parameters, before, part)
        each, last = (after, before) if step_spec.grouped else ({}, after)
        return (jax.tree.map(jnp.add, total, (gradients, sums, each)), last), None

    zeros = partial(jax.tree.map, jnp.zeros_like)
    added = (
        zeros(state.parameters),
        jax.tree.map(jnp.asarray, zero_sums()),
        zeros(state.batch_stats if step_spec.grouped else {}),
    )
    ((gradients, sums, each), last), _ = lax.scan(body, (added, state.batch_stats), split)
    gradients, each = jax.tree.map(lambda x: x / parts, (gradients, each))
    return gradients, each if step_spec.grouped else last, sums


def evaluation_step(
    step_spec: StepSpec,
    parameters: Params,
    batch_stats: Params,
    device_data: Batch,
    batch: Batch,
    *,
    hparams: Hyperparameters,
) -> dict[str, Array]:
    """What the task notes of each example (`Task.outputs`) for one run, arrays [batch, …]."""
    images, labels = gather(device_data, batch)
    logits, _ = step_spec.model.apply(
        parameters,
        batch_stats,
        normalize(images),
        train=False,
        activation_index=hparams.activation_index,
    )
    return step_spec.task.outputs(logits, labels)
