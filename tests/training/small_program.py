"""A model that compiles in a second, with what hangs on a row's place: augmentation and dropout.

For a process of eight virtual devices; `train` gives the state after three steps, and the smallest
share of an array of the optimizer that one device keeps.
"""

PROGRAM = """
import json, sys
from dataclasses import replace
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from xception_jax.data import DatasetInfo
from xception_jax.models.functional import functionalize
from xception_jax.models.layers import BatchNorm, Conv, Dense, dropout
from xception_jax.training.compile import compile_train_steps, place_states, shapes_of
from xception_jax.training.state import Hyperparameters
from xception_jax.training.sharding import Layout, make_mesh, replicate
from xception_jax.training.optimizer import OptimizerSettings
from xception_jax.training.step import StepSpec
from xception_jax.training.objective import SingleLabel

class Small(nnx.Module):
    def __init__(self, group_size):
        rngs = nnx.Rngs(0)
        self.conv = Conv(1, 4, rngs=rngs)
        self.norm = BatchNorm(4, axis_name="data", group_size=group_size, rngs=rngs)
        self.dense = Dense(4, 3, rngs=rngs)
    def __call__(self, images, train, dropout_keys=None, dropout_rate=0.0):
        x = jax.nn.relu(self.norm(self.conv(images), train)).mean((1, 2))
        return self.dense(dropout(x, dropout_rate, dropout_keys))

OPTIMIZER = OptimizerSettings(
    name="sgd", momentum=0.9, nesterov=False, rms_decay=0.9, epsilon=1.0, schedule="constant",
    decay_rate=1.0, decay_steps=1, warmup_steps=0, total_steps=4, weight_decay=False,
    clip_norm=None,
)
RMSPROP = replace(OPTIMIZER, name="rmsprop", weight_decay=True, clip_norm=0.1)
STEPS, ROWS = 3, 32
rng = np.random.default_rng(0)
IMAGES = rng.integers(256, size=(STEPS, ROWS, 6, 6, 1)).astype(np.uint8)
LABELS = rng.integers(3, size=(STEPS, ROWS)).astype(np.int32)

def train(devices, group_size, parts, slots=None, optimizer=OPTIMIZER, shard=False):
    function, *_ = functionalize(Small(group_size))
    program = StepSpec(
        model=function, task=SingleLabel(0.0), optimizer=optimizer, average_decay=0.9,
        accumulation_steps=parts, augmentation="shift_flip", padding=2, dropout=True,
        grouped=group_size is not None, shard_optimizer=shard,
    )
    layout = Layout(make_mesh(jax.devices()[:devices], slots), slots)
    count = slots or 1
    state = place_states(program, layout, [program.init(3)] * count)
    own = Hyperparameters(jnp.int32(3), *map(jnp.float32, (0.5, 0.01, 0.3)), jnp.int32(0))
    own, active = layout.stack([own] * count), layout.stack([np.bool_(True)] * count)
    for images, labels in zip(IMAGES, LABELS):
        batch = {"image": images[None], "label": labels[None]}
        if slots:
            batch = {name: np.stack([rows] * slots, 1) for name, rows in batch.items()}
        dealt = layout.interleave_shards(batch, program.consecutive_parts)
        rows = layout.put(dealt, layout.steps_spec)
        step = compile_train_steps(program, layout, shapes_of({}), shapes_of(rows))
        state, _ = step(state, active, {}, rows, replicate(jnp.int32(1), layout.mesh), own)
    kept = [x.addressable_data(0).size / x.size for x in jax.tree.leaves(state.optimizer)]
    state = jax.device_get(state)
    return jax.tree.map(lambda x: x[0], state) if slots else state, min(kept)

def distance(one, other):
    # Relative to the largest value of each kind.
    found = []
    for name in ("parameters", "batch_stats", "averages", "sums", "optimizer"):
        pairs = list(zip(*(jax.tree.leaves(getattr(state, name)) for state in (one, other))))
        largest = max(np.abs(mine).max() for mine, _ in pairs)
        found += [float(np.abs(mine - theirs).max() / largest) for mine, theirs in pairs]
    return max(found)
"""
