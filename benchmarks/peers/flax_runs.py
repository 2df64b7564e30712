"""The runs of a sweep in plain Flax, one by one: `python -m benchmarks.peers.flax_runs JSON`.

What they do is said in `benchmarks.sweeps`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.peers.flax_plain import Model, build, loss_of


@nnx.jit(static_argnames=("padding", "decay"))
def _augmented_step(  # noqa: PLR0917
    model: Model,
    optimizer: nnx.Optimizer,
    averages: Any,
    data: dict[str, jax.Array],
    rows: np.ndarray,
    key: jax.Array,
    *,
    padding: int,
    decay: float,
) -> Any:
    """One step on rows of the images that lie on the device; returns the averaged weights."""
    images = _shift_and_flip(data["train_image"][rows], key, padding)
    loss_and_gradients = nnx.value_and_grad(loss_of)
    _, gradients = loss_and_gradients(model, _normalize(images), data["train_label"][rows])
    optimizer.update(model, gradients)
    weights = nnx.state(model, nnx.Param)
    return jax.tree.map(lambda a, w: decay * a + (1 - decay) * w, averages, weights)


def _shift_and_flip(images: jax.Array, key: jax.Array, padding: int) -> jax.Array:
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    where, flips = jax.random.split(key)
    offsets = jax.random.randint(where, (len(images), 2), 0, 2 * padding + 1)

    def cut(image: jax.Array, offset: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (*offset, 0), images.shape[1:])

    cuts = jax.vmap(cut)(padded, offsets)
    flipped = jax.random.bernoulli(flips, shape=(len(images), 1, 1, 1))
    return jnp.where(flipped, cuts[:, :, ::-1], cuts)


def _normalize(images: jax.Array) -> jax.Array:
    return images.astype(jnp.float32) / 127.5 - 1


@nnx.jit
def _hits(model: Model, images: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.sum(jnp.argmax(model(_normalize(images)), axis=-1) == labels)


def train_run(
    architecture: dict[str, Any], runs: dict[str, Any], data: dict[str, jax.Array], seed: int
) -> tuple[float, float]:
    """Trains one run of a sweep (`benchmarks.sweeps`); last validation and test accuracy."""
    model = build(architecture, seed=seed)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, runs["learning_rate"], runs["warmup_steps"], max(runs["steps"], 2)
    )
    transformation = optax.chain(
        optax.add_decayed_weights(
            runs["weight_decay"], mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)
        ),
        optax.sgd(schedule, momentum=runs["momentum"]),
    )
    optimizer = nnx.Optimizer(model, transformation, wrt=nnx.Param)
    step_function = nnx.cached_partial(_augmented_step, model, optimizer)
    averages = jax.tree.map(jnp.copy, nnx.state(model, nnx.Param))
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    evaluate_after, accuracy = set(runs["evaluate_after"]), float("nan")
    orders = _orders(rng, len(data["train_label"]), runs)
    model.train()
    for step, rows in enumerate(orders, 1):
        step_key = jax.random.fold_in(key, step)
        averages = step_function(
            averages, data, rows, step_key, padding=runs["padding"], decay=runs["average_decay"]
        )
        if step in evaluate_after:
            accuracy = _accuracy(model, averages, data, "valid", runs["evaluation_batch"])
    return accuracy, _accuracy(model, averages, data, "test", runs["evaluation_batch"])


def _orders(rng: np.random.Generator, examples: int, runs: dict[str, Any]) -> Iterator[np.ndarray]:
    """Rows of each step's batch, a permutation an epoch."""
    batch, left = runs["batch"], np.empty(0, np.int32)
    for _ in range(runs["steps"]):
        if len(left) < batch:
            left = np.concatenate([left, rng.permutation(examples).astype(np.int32)])
        yield left[:batch]
        left = left[batch:]


def _accuracy(model: Model, averages: Any, data: Any, split: str, batch: int) -> float:
    averaged = nnx.clone(model)
    nnx.update(averaged, averages)
    averaged.eval()
    images, labels = data[f"{split}_image"], data[f"{split}_label"]
    hits = [
        _hits(averaged, images[first : first + batch], labels[first : first + batch])
        for first in range(0, len(labels), batch)
    ]
    return sum(map(int, hits)) / len(labels)


def main(path: str) -> None:
    """Trains the runs that a JSON file describes, one after another."""
    runs = json.loads(Path(path).read_text())
    data = jax.device_put(dict(np.load(runs["images"])))
    for run in runs["runs"]:
        valid, test = train_run(run["architecture"], runs, data, run["seed"])
        print(json.dumps({"valid": valid, "test": test}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
