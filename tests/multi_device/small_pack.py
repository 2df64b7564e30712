"""A pack of small models: block, augmentation, dropout, batch normalization and averages."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from xception_jax.config.model import BlockConfig, NormConfig
from xception_jax.config.schema import OptimizerConfig
from xception_jax.models.blocks import SeparableConv
from xception_jax.models.functional import functionalize
from xception_jax.models.layers import BatchNorm, Dense, dropout
from xception_jax.training.compile import compile_train_steps, shapes_of
from xception_jax.training.objective import SingleLabel
from xception_jax.training.optimizer import OptimizerSpec
from xception_jax.training.sharding import Layout, make_mesh, replicate
from xception_jax.training.state import Hyperparameters, TrainState
from xception_jax.training.step import StepSpec

OPTIMIZER = OptimizerSpec(
    OptimizerConfig(name="sgd", momentum=0.9, schedule="cosine", weight_decay=1.0, clip_norm=5.0),
    decay_steps=4,
    warmup_steps=1,
    total_steps=8,
)
ACTIVATIONS = ("elu", "none", "relu")  # of the runs, in turn
STEPS, BATCH = 4, 8


class Small(nnx.Module):
    def __init__(self, block: BlockConfig) -> None:
        rngs = nnx.Rngs(0)
        self.conv = SeparableConv(4, 8, strides=2, config=block, rngs=rngs)
        self.norm = BatchNorm(8, NormConfig(axis_name="data"), rngs=rngs)
        self.classifier = Dense(8, 3, rngs=rngs)

    def __call__(
        self,
        images: jax.Array,
        train: bool,
        dropout_keys: jax.Array | None = None,
        dropout_rate: Any = 0.0,
    ) -> jax.Array:
        x = jax.nn.relu(self.norm(self.conv(images, train), train))
        return self.classifier(dropout(x.mean((1, 2)), dropout_rate, dropout_keys))


def make_spec(*activations: str, **block: Any) -> StepSpec:
    """The spec of a step with one activation, or with several that runs choose from."""
    choices = activations if len(activations) > 1 else ()
    config = BlockConfig(
        intermediate_activation=activations[0], activation_choices=choices, **block
    )
    function, *_ = functionalize(Small(config))
    return StepSpec(
        model=function,
        task=SingleLabel(),
        optimizer=OPTIMIZER,
        average_decay=0.9,
        accumulation_steps=1,
        augmentation="shift_flip",
        padding=1,
        dropout=True,
    )


def hparams_of(number: int, activations: Sequence[str]) -> Hyperparameters:
    """The hyperparameters of run `number`; its activation is an index into `activations`."""
    values = 0.2 / (number + 1), 0.01 * number, 0.1 + 0.2 * number
    rate, decay, dropped = map(jnp.float32, values)
    activation = ACTIVATIONS[number % 3]
    index = activations.index(activation) if len(activations) > 1 else 0
    return Hyperparameters(jnp.int32(number), rate, decay, dropped, jnp.int32(index))


class Data:
    """Random images on the devices, and the batches of three runs, new for every test."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.arrays = {
            "image": rng.integers(256, size=(40, 6, 6, 4)).astype(np.uint8),
            "label": rng.integers(3, size=40).astype(np.int32),
        }
        self.batches = rng.integers(40, size=(3, STEPS, BATCH)).astype(np.int32)

    def train(
        self,
        step_spec: StepSpec,
        runs: Sequence[int],
        slots: int | None,
        devices: int,
        activations: Sequence[str],
        *,
        chunks: Sequence[int] = (1,) * STEPS,
    ) -> list[TrainState]:
        """The runs' states after `STEPS` steps, which are taken `chunks` at a dispatch."""
        layout = Layout(make_mesh(jax.devices()[:devices], slots), slots)
        everyone = [*runs, *[runs[0]] * ((slots or 1) - len(runs))]

        def stack(value: Callable[[int], Any]) -> Any:
            return layout.stack([value(number) for number in everyone])

        state = stack(step_spec.init)
        hparams = stack(lambda number: hparams_of(number, activations))
        active = stack(lambda _: jnp.bool_(True))
        device_data = replicate(self.arrays, layout.mesh)
        most, done = max(chunks), 0
        for count in chunks:
            steps = np.minimum(np.arange(done, done + most), STEPS - 1)
            index = np.stack([self.batches[number][steps] for number in everyone], axis=1)
            rows = layout.put({"index": index if slots else index[:, 0]}, layout.steps_spec)
            step = compile_train_steps(step_spec, layout, shapes_of(device_data), shapes_of(rows))
            taken = replicate(jnp.int32(count), layout.mesh)
            state, outcome = step(state, active, device_data, rows, taken, hparams)
            active, done = outcome.active, done + count
        return [jax.device_get(layout.take(state, slot)) for slot in range(len(runs))]


def distance(one: TrainState, other: TrainState) -> float:
    """The largest difference, relative to its array's largest value, or to 1e-3 if that is less."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(
        float(np.abs(np.float64(mine) - theirs).max() / max(np.abs(theirs).max(), 1e-3))
        for mine, theirs in pairs
    )
