"""A model that compiles in a second, with what hangs on a row's place: augmentation and dropout."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from xception_jax.config.model import NormConfig
from xception_jax.config.schema import OptimizerConfig
from xception_jax.models.functional import functionalize
from xception_jax.models.layers import BatchNorm, Conv, Dense, dropout
from xception_jax.training.compile import compile_train_steps, place_states, shapes_of
from xception_jax.training.objective import SingleLabel
from xception_jax.training.optimizer import OptimizerSpec
from xception_jax.training.sharding import Layout, make_mesh, replicate
from xception_jax.training.state import Hyperparameters, TrainState
from xception_jax.training.step import StepSpec

SGD = OptimizerSpec(
    OptimizerConfig(name="sgd", momentum=0.9, schedule="constant", weight_decay=0.0),
    decay_steps=1,
    warmup_steps=0,
    total_steps=4,
)
# With momentum, weight decay, and a bound on the norm that is always at work.
RMSPROP = replace(SGD, config=replace(SGD.config, name="rmsprop", weight_decay=1.0, clip_norm=0.1))
STEPS, ROWS = 3, 32
_rng = np.random.default_rng(0)
IMAGES = _rng.integers(256, size=(STEPS, ROWS, 6, 6, 1)).astype(np.uint8)
LABELS = _rng.integers(3, size=(STEPS, ROWS)).astype(np.int32)


class Small(nnx.Module):
    def __init__(self, group_size: int | None) -> None:
        rngs = nnx.Rngs(0)
        self.conv = Conv(1, 4, rngs=rngs)
        self.norm = BatchNorm(4, NormConfig(axis_name="data", group_size=group_size), rngs=rngs)
        self.dense = Dense(4, 3, rngs=rngs)

    def __call__(
        self,
        images: jax.Array,
        train: bool,
        dropout_keys: jax.Array | None = None,
        dropout_rate: Any = 0.0,
    ) -> jax.Array:
        x = jax.nn.relu(self.norm(self.conv(images), train)).mean((1, 2))
        return self.dense(dropout(x, dropout_rate, dropout_keys))


class Trained(NamedTuple):
    """The state that three steps leave.

    Attributes:
        state: of the run, or of the pack's first.
        shares: of each array of the optimizer and the averages, its shape in one run and the share
            of it that one device keeps.
    """

    state: TrainState
    shares: list[tuple[tuple[int, ...], float]]


def train(
    devices: int,
    group_size: int | None = None,
    parts: int = 1,
    slots: int | None = None,
    optimizer: OptimizerSpec = SGD,
    *,
    shard: bool = False,
) -> Trained:
    """Takes `STEPS` steps, alone or as a pack whose slots all hold the same run."""
    function, *_ = functionalize(Small(group_size))
    step_spec = StepSpec(
        model=function,
        task=SingleLabel(0.0),
        optimizer=optimizer,
        average_decay=0.9,
        accumulation_steps=parts,
        augmentation="shift_flip",
        padding=2,
        dropout=True,
        grouped=group_size is not None,
        shard_optimizer=shard,
    )
    layout = Layout(make_mesh(jax.devices()[:devices], slots), slots)
    count = slots or 1
    state = place_states(step_spec, layout, [step_spec.init(3)] * count)
    rate, decay, dropped = map(jnp.float32, (0.5, 0.01, 0.3))
    own = Hyperparameters(jnp.int32(3), rate, decay, dropped, jnp.int32(0))
    hparams = layout.stack([own] * count)
    active = layout.stack([jnp.bool_(True)] * count)
    for images, labels in zip(IMAGES, LABELS, strict=True):
        batch = {"image": images[None], "label": labels[None]}
        if slots:
            batch = {name: np.stack([rows] * slots, 1) for name, rows in batch.items()}
        interleaved = layout.interleave_shards(batch, step_spec.consecutive_parts)
        rows = layout.put(interleaved, layout.steps_spec)
        step = compile_train_steps(step_spec, layout, shapes_of({}), shapes_of(rows))
        state, _ = step(state, active, {}, rows, replicate(jnp.int32(1), layout.mesh), hparams)
    shares = [
        (x.shape[1:] if slots else x.shape, x.addressable_data(0).size / x.size)
        for x in jax.tree.leaves((state.optimizer, state.averages))
    ]
    state = jax.device_get(state)
    return Trained(jax.tree.map(lambda x: x[0], state) if slots else state, shares)


def distance(one: TrainState, other: TrainState) -> float:
    """The largest difference, relative to the largest value of its kind."""
    return max(
        _distance(jax.tree.leaves(getattr(one, kind)), jax.tree.leaves(getattr(other, kind)))
        for kind in ("parameters", "batch_stats", "averages", "sums", "optimizer")
    )


def _distance(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    largest = max(np.abs(value).max() for value in one)
    pairs = zip(one, other, strict=True)
    return max(float(np.abs(mine - theirs).max() / largest) for mine, theirs in pairs)
