"""Programs so small that a few lines of NumPy are their oracle, and steps of them."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from xception_jax.config.model import NormConfig
from xception_jax.config.schema import OptimizerConfig
from xception_jax.models.functional import functionalize
from xception_jax.models.layers import BatchNorm, Dense
from xception_jax.training.compile import compile_train_steps, shapes_of
from xception_jax.training.objective import SingleLabel
from xception_jax.training.optimizer import OptimizerSpec
from xception_jax.training.sharding import Layout, make_mesh, replicate
from xception_jax.training.state import Hyperparameters
from xception_jax.training.step import StepSpec

SGD = OptimizerSpec(
    OptimizerConfig(name="sgd", momentum=0.9, schedule="cosine", weight_decay=1.0, clip_norm=0.4),
    decay_steps=4,
    warmup_steps=2,
    total_steps=8,
)


class Softmax(nnx.Module):
    """Softmax regression on pixels: its gradient is a line of NumPy."""

    def __init__(self, features: int, classes: int) -> None:
        def draw(key, shape, dtype):
            return 0.1 * jax.random.normal(key, shape, dtype)

        self.kernel = nnx.Param(jnp.zeros((features, classes)), initializer=draw)
        self.bias = nnx.Param(jnp.zeros(classes), initializer=draw)

    def __call__(self, images, train):
        return images.reshape(len(images), -1) @ self.kernel[...] + self.bias[...]


class NormedImages(nnx.Module):
    """Batch normalization of the images: its statistics follow from them, not from the weights."""

    def __init__(self, momentum: float, group_size: int | None) -> None:
        config = NormConfig(momentum=momentum, axis_name="data", group_size=group_size)
        self.norm = BatchNorm(3, config, rngs=nnx.Rngs(0))
        self.dense = Dense(3, 4, rngs=nnx.Rngs(0))

    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        return self.dense(self.norm(images, train).mean((1, 2)))


def softmax_program(**changes) -> StepSpec:
    function, *_ = functionalize(Softmax(27, 4))
    fixed: dict[str, Any] = {
        "augmentation": "none",
        "padding": 0,
        "dropout": False,
        "accumulation_steps": 1,
    }
    settings: dict[str, Any] = {
        "task": SingleLabel(label_smoothing=0.1),
        "average_decay": 0.6,
        **fixed,
    }
    return StepSpec(model=function, optimizer=SGD, **(settings | changes))


def with_optimizer(spec: OptimizerSpec, **changes: Any) -> OptimizerSpec:
    return replace(spec, config=replace(spec.config, **changes))


def softmax_batches(steps=8, rows=16):
    rng = np.random.default_rng(0)
    for _ in range(steps):
        images = rng.integers(256, size=(rows, 3, 3, 3)).astype(np.uint8)
        yield {"image": images, "label": rng.integers(4, size=rows).astype(np.int32)}


def own(seed=0, learning_rate=0.1, weight_decay=5e-4):
    """Hyperparameters; by default those of the shrunk config but for its dropout."""
    rate, decay, dropout = map(jnp.float32, (learning_rate, weight_decay, 0.0))
    return Hyperparameters(jnp.int32(seed), rate, decay, dropout, jnp.int32(0))


def run_steps(program, batches, device_data=None, given=None):
    mesh = make_mesh()
    layout, given = Layout(mesh), given or own()
    state, device_data = (
        layout.stack([program.init(given.seed)]),
        replicate(device_data or {}, mesh),
    )
    active, outcomes = replicate(jnp.bool_(True), mesh), []
    one, given = replicate(jnp.int32(1), mesh), layout.stack([given])
    for batch in batches:
        rows = layout.put({name: part[None] for name, part in batch.items()}, layout.steps_spec)
        step = compile_train_steps(program, layout, shapes_of(device_data), shapes_of(rows))
        state, outcome = step(state, active, device_data, rows, one, given)
        active = outcome.active
        outcomes.append(jax.device_get(outcome))
    return jax.device_get(state), outcomes
