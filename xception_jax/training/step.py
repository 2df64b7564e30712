"""The training and the evaluation step: pure functions, compiled once over a mesh."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Int, Key, PyTree

from xception_jax.data import augment, gather, normalize
from xception_jax.models import ModelFunction
from xception_jax.models.functional import Flat
from xception_jax.training.mesh import BATCH, DATA_AXIS, REPLICATED
from xception_jax.training.optimizer import OptimizerSettings
from xception_jax.training.state import Sums, TrainState, polyak, zero_sums
from xception_jax.training.task import Task

Batch = Mapping[str, Array]
Outcome = dict[str, Array]


@dataclass(frozen=True)
class Program:
    """All that is fixed in the compiled code of a run; runs with equal programs share the code.

    The seed is not in it: it is an argument.
    """

    model: ModelFunction
    task: Task
    optimizer: OptimizerSettings
    average_decay: float
    accumulation_steps: int
    augmentation: str
    padding: int
    dropout: bool

    def init(self, seed: int) -> TrainState:
        """The state before the first step."""
        parameters, statistics = self.model.init(stream_key(seed, "initial values"))
        averages = jax.tree.map(jnp.copy, parameters) if self.average_decay else {}
        optimizer = self.optimizer.transformation().init(parameters)
        step = jnp.zeros((), jnp.int32)
        return TrainState(step, parameters, statistics, averages, optimizer, zero_sums())


def stream_key(seed: int | Int[Array, ""], stream: str) -> Key[Array, ""]:
    """The key of one named stream of randomness; fold in a step, then a row."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))


def _example_keys(
    seed: Int[Array, ""], stream: str, step: Int[Array, ""], count: int
) -> Key[Array, " batch"]:
    """A key for each of this device's `count` rows, by its place in the global batch."""
    rows = lax.axis_index(DATA_AXIS) * count + jnp.arange(count)
    key = jax.random.fold_in(stream_key(seed, stream), step)
    return jax.vmap(partial(jax.random.fold_in, key))(rows)


def _gradients(
    program: Program, parameters: Flat, statistics: Flat, batch: Batch
) -> tuple[Flat, Flat, Sums]:
    """Gradient of the mean loss, new statistics and summed metrics of one device's rows."""

    def loss(parameters: Flat) -> tuple[Array, tuple[Array, Flat]]:
        logits, new = program.model.apply(
            parameters,
            statistics,
            batch["image"],
            train=True,
            dropout_keys=batch.get("dropout"),
        )
        return jnp.mean(program.task.loss(logits, batch["label"])), (logits, new)

    (mean, (logits, statistics)), gradients = jax.value_and_grad(loss, has_aux=True)(parameters)
    count = jnp.float32(len(logits))
    right = {f"top{k}": program.task.in_top(logits, batch["label"], k) for k in (1, 5)}
    hits = {name: jnp.sum(values, dtype=jnp.float32) for name, values in right.items()}
    return gradients, statistics, {"examples": count, "loss": mean * count, **hits}


def train_step(
    program: Program, state: TrainState, resident: Batch, batch: Batch, seed: Int[Array, ""]
) -> tuple[TrainState, Outcome]:
    """One optimizer step, as one device of the data axis sees it (inside `shard_map`).

    Args:
        program: what is compiled in.
        state: the same on every device.
        resident: data that lie on the device, or nothing.
        batch: this device's rows.
        seed: of augmentation and dropout.

    Returns:
        The next state, and of this step: whether loss and gradient were `finite`, and the
        `learning_rate` used.
    """
    images, labels = gather(resident, batch)
    keys = _example_keys(seed, "augmentation", state.step, len(labels))
    augmented = augment(images, keys, augmentation=program.augmentation, padding=program.padding)
    rows: dict[str, Array] = {"image": normalize(augmented), "label": labels}
    if program.dropout:
        rows["dropout"] = _example_keys(seed, "dropout", state.step, len(labels))
    gradients, statistics, sums = _accumulate(program, state, rows)
    # check_vma is off, so each device holds the gradient of its own rows' mean loss: average them.
    gradients = lax.pmean(gradients, DATA_AXIS)
    sums = lax.psum(sums, DATA_AXIS)
    outcome = {
        "finite": jnp.isfinite(sums["loss"]) & jnp.isfinite(optax.tree.norm(gradients)),
        "learning_rate": jnp.float32(program.optimizer.learning_rate_at()(state.step)),
    }
    optimizer = program.optimizer.transformation()
    updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.parameters)
    parameters = optax.apply_updates(state.parameters, updates)
    averages = polyak(state.averages, parameters, state.step, program.average_decay)
    sums = jax.tree.map(jnp.add, state.sums, sums)
    after = TrainState(state.step + 1, parameters, statistics, averages, optimizer_state, sums)
    return after, outcome


def _accumulate(program: Program, state: TrainState, rows: Batch) -> tuple[Flat, Flat, Sums]:
    """Gradients of the whole batch, computed in parts one after another.

    Batch normalization sees one part at a time: each part is normalized by its own mean and
    variance, over all devices, and the moving ones are updated once per part. With it, a batch in
    parts is therefore not the same computation as the batch at once; without it, it is.
    """
    parts = program.accumulation_steps
    if parts == 1:
        return _gradients(program, state.parameters, state.statistics, rows)
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), dict(rows))

    def body(carry: Any, part: Batch) -> tuple[Any, None]:
        total, statistics = carry
        gradients, statistics, sums = _gradients(program, state.parameters, statistics, part)
        return (jax.tree.map(jnp.add, total, (gradients, sums)), statistics), None

    start = (jax.tree.map(jnp.zeros_like, state.parameters), zero_sums()), state.statistics
    ((gradients, sums), statistics), _ = lax.scan(body, start, split)
    return jax.tree.map(lambda x: x / parts, gradients), statistics, sums


def evaluation_step(
    program: Program, parameters: Flat, statistics: Flat, resident: Batch, batch: Batch
) -> dict[str, Array]:
    """What the task notes of each example (`Task.outputs`), arrays [batch, …]."""
    images, labels = gather(resident, batch)
    logits, _ = program.model.apply(parameters, statistics, normalize(images), train=False)
    return program.task.outputs(logits, labels)


Shapes = PyTree[jax.ShapeDtypeStruct]


def shapes_of(tree: PyTree) -> tuple[Any, ...]:
    """A hashable description of a tree of arrays."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def _abstract(description: tuple[Any, ...], mesh: Mesh, spec: Any) -> PyTree:
    structure, leaves = description
    sharding = NamedSharding(mesh, spec)
    return structure.unflatten(
        [jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for shape, dtype in leaves]
    )


@lru_cache(maxsize=64)
def compile_train_step(
    program: Program, mesh: Mesh, resident: tuple[Any, ...], batch: tuple[Any, ...]
) -> jax.stages.Compiled:
    """(state, resident, batch, seed) -> (state, outcome), compiled; the state given is used up.

    Compiled ahead of time: a call with other shapes is an error, so nothing compiles twice.
    `resident` and `batch` are `shapes_of` the arrays.
    """
    state = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, REPLICATED)),
        jax.eval_shape(partial(program.init, 0)),
    )
    seed = jax.ShapeDtypeStruct((), jnp.int32, sharding=NamedSharding(mesh, REPLICATED))
    sharded = jax.shard_map(
        partial(train_step, program),
        mesh=mesh,
        in_specs=(REPLICATED, REPLICATED, BATCH, REPLICATED),
        out_specs=REPLICATED,
        check_vma=False,
    )
    arguments = state, _abstract(resident, mesh, REPLICATED), _abstract(batch, mesh, BATCH), seed
    return jax.jit(sharded, donate_argnums=0).lower(*arguments).compile()


@lru_cache(maxsize=64)
def compile_evaluation_step(
    program: Program, mesh: Mesh, resident: tuple[Any, ...], batch: tuple[Any, ...]
) -> jax.stages.Compiled:
    """(parameters, statistics, resident, batch) -> values per example, compiled as above."""
    state = jax.eval_shape(partial(program.init, 0))
    sharded = jax.shard_map(
        partial(evaluation_step, program),
        mesh=mesh,
        in_specs=(REPLICATED, REPLICATED, REPLICATED, BATCH),
        out_specs=BATCH,
        check_vma=False,
    )
    values = (
        _abstract(shapes_of(part), mesh, REPLICATED)
        for part in (state.parameters, state.statistics)
    )
    arguments = *values, _abstract(resident, mesh, REPLICATED), _abstract(batch, mesh, BATCH)
    return jax.jit(sharded).lower(*arguments).compile()
