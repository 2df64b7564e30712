"""Validation accuracy of averaged weights with different statistics of batch normalization.

    python scripts/compare_statistics.py configs/fashion_mnist_mini.py \
model.intermediate_activation=relu seed=3

trains one run, without files, and prints at each of its validations the top-1 accuracy of the same
averaged weights with

- moving: the moving statistics of the last step;
- averaged moving: averages of those;
- averaged: averages of the statistics of each batch, which is what evaluation uses;
- 512 images: the mean over eight batches of 64 augmented images, estimated for these weights;
- all: the mean over all training images in batches of 600, not augmented, the reference.

The data set must be kept on the device. One device is used.
"""

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from xception_jax.config import load_config, resolve
from xception_jax.data import normalize
from xception_jax.models.functional import Params
from xception_jax.training.compile import compile_train_steps, initial_state, shapes_of
from xception_jax.training.setup import make_schedule, make_step_spec, open_data
from xception_jax.training.sharding import Layout, make_mesh, replicate
from xception_jax.training.state import TrainState, hyperparameters, polyak
from xception_jax.training.step import StepSpec, training_rows

SAMPLES, SAMPLE, CHUNK = 8, 64, 600
NAMES = ("moving", "averaged moving", "averaged", "512 images", "all")


def on_one_device(layout: Layout, function: Any) -> Any:
    """The function compiled with the mesh axes that batch normalization names."""
    every = PartitionSpec()
    return jax.jit(
        jax.shard_map(function, mesh=layout.mesh, in_specs=every, out_specs=every, check_vma=False)
    )


def accuracies(spec: StepSpec, layout: Layout, pipeline: Any, hparams: Any) -> Any:
    """A function of a state and the averages of its moving statistics: the five accuracies."""
    train, valid = (replicate(pipeline.device_data[s], layout.mesh) for s in ("train", "valid"))

    def current(state: TrainState, images: jax.Array) -> Params:
        return spec.model.apply_in_training(state.evaluated()[0], state.batch_stats, images)[1]

    def sample(state: TrainState, hparams: Any, train: Any, index: jax.Array) -> Params:
        return current(
            state, training_rows(spec, hparams, state.step, train, {"index": index})["image"]
        )

    def chunk(state: TrainState, train: Any, index: jax.Array) -> Params:
        return current(state, normalize(train["image"][index]))

    def correct(state: TrainState, stats: Params, valid: Any) -> jax.Array:
        weights = state.evaluated()[0]
        logits, _ = spec.model.apply(weights, stats, normalize(valid["image"]), train=False)
        return jnp.mean(jnp.argmax(logits, axis=-1) == valid["label"])

    sample, chunk, correct = (on_one_device(layout, f) for f in (sample, chunk, correct))
    count = len(train["label"])

    def measure(state: TrainState, moving: Params) -> list[float]:
        following = pipeline.train_batches(int(state.step))
        drawn = np.concatenate([next(following)["index"] for _ in range(SAMPLES)])
        parts = [drawn[i * SAMPLE : (i + 1) * SAMPLE] for i in range(SAMPLES)]
        chunks = np.array_split(np.arange(count, dtype=np.int32), max(1, count // CHUNK))
        of_512 = [sample(state, hparams, train, index) for index in parts]
        of_all = [chunk(state, train, index) for index in chunks]
        means = [jax.tree.map(lambda *x: sum(x) / len(x), *of) for of in (of_512, of_all)]
        stats = [state.batch_stats, moving, state.evaluated()[1], *means]
        return [float(correct(state, values, valid)) for values in stats]

    return measure


def main(path: str, words: list[str]) -> None:
    """Trains the run of a config and prints the accuracies at each validation."""
    config = resolve(load_config(path), overrides=words)
    pipeline, layout = open_data(config), Layout(make_mesh(jax.devices()[:1]))
    spec = make_step_spec(config, pipeline.info)
    schedule = make_schedule(config, pipeline.info.examples["train"])
    state, active, hparams = layout.stack(
        [(initial_state(spec, config.seed), np.bool_(True), hyperparameters(config))]
    )
    data = replicate(pipeline.device_data["train"], layout.mesh)
    measure = accuracies(spec, layout, pipeline, hparams)
    average = jax.jit(partial(polyak, decay=config.train.average_decay))
    moving, one = jax.tree.map(jnp.copy, state.batch_stats), replicate(np.int32(1), layout.mesh)
    print("step", *NAMES, sep=", ")
    for step, batch in enumerate(pipeline.train_batches(0), start=1):
        rows = layout.put({name: x[None] for name, x in batch.items()}, layout.steps_spec)
        take = compile_train_steps(spec, layout, shapes_of(data), shapes_of(rows))
        state, _ = take(state, active, data, rows, one, hparams)
        moving = average(moving, state.batch_stats, jnp.int32(step - 1))
        if schedule.due(schedule.evaluate, step):
            print(step, *(f"{value:.4f}" for value in measure(state, moving)), sep=", ")
        if step == schedule.total:
            break


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
