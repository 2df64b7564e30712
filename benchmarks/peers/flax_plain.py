"""Xception as one writes it in Flax NNX: its own layers, its own optimizer, its own jit.

The depthwise convolution is `nnx.Conv(feature_group_count=channels)`. The step is compiled by
`nnx.jit` and held by `nnx.cached_partial`, which Flax recommends where the cost of a call matters.
"""

import json
import sys
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.cases import Work


class Separable(nnx.Module):
    """A depthwise 3x3 convolution, an activation if one is wanted, a pointwise convolution."""

    def __init__(self, before: int, after: int, activation: str, dtype: Any, rngs: nnx.Rngs):
        plain: dict[str, Any] = {"use_bias": False, "dtype": dtype, "rngs": rngs}
        self.spatial = nnx.Conv(before, before, (3, 3), feature_group_count=before, **plain)
        self.pointwise = nnx.Conv(before, after, (1, 1), **plain)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, before] -> [batch, height, width, after]."""
        x = self.spatial(x)
        if self.activation != "none":
            x = getattr(jax.nn, self.activation)(x)
        return self.pointwise(x)


class Stage(nnx.Module):
    """Separable convolutions, a pool, what skips them."""

    def __init__(
        self, before: int, stage: dict[str, Any], *, norm: Any, activation: str, dtype: Any, rngs
    ):
        self.stage, widths = dict(stage, features=tuple(stage["features"])), stage["features"]
        self.convolutions = nnx.List(
            Separable(a, b, activation, dtype, rngs) for a, b in pairwise((before, *widths))
        )
        self.norms = nnx.List(norm(width) for width in widths)
        if stage["shortcut"] == "projection":
            strides = 2 if stage["pool"] else 1
            self.projection = nnx.Conv(
                before, widths[-1], (1, 1), strides, use_bias=False, dtype=dtype, rngs=rngs
            )
            self.projection_norm = norm(widths[-1])

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, channels] -> [batch, height / 2 if pooled, …, features]."""
        inputs, stage = x, self.stage
        for index, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            if stage["activation"] == "before" and (index > 0 or stage["first_activation"]):
                x = nnx.relu(x)
            x = norm(convolution(x))
            if stage["activation"] == "after":
                x = nnx.relu(x)
        if stage["pool"]:
            x = nnx.max_pool(x, (3, 3), (2, 2), "SAME")
        if stage["shortcut"] == "projection":
            x = x + self.projection_norm(self.projection(inputs))
        return x + inputs if stage["shortcut"] == "identity" else x


class Xception(nnx.Module):
    """The model that `architecture` describes (`benchmarks.architectures`)."""

    def __init__(self, architecture: dict[str, Any], *, dtype: Any, rngs: nnx.Rngs):
        momentum, epsilon = architecture["norm_momentum"], architecture["norm_epsilon"]

        def norm(features: int) -> nnx.BatchNorm:
            return nnx.BatchNorm(
                features, momentum=momentum, epsilon=epsilon, dtype=dtype, rngs=rngs
            )

        features, stem = architecture["in_channels"], architecture["stem"]
        activation = architecture["intermediate_activation"]
        self.stem, self.stem_norms = nnx.List(), nnx.List()
        for conv in stem:
            self.stem.append(
                nnx.Conv(
                    features,
                    conv["features"],
                    (3, 3),
                    conv["strides"],
                    padding=conv["padding"],
                    use_bias=False,
                    dtype=dtype,
                    rngs=rngs,
                )
            )
            features = conv["features"]
            self.stem_norms.append(norm(features))
        self.stages = nnx.List()
        for stage in architecture["stages"]:
            self.stages.append(
                Stage(features, stage, norm=norm, activation=activation, dtype=dtype, rngs=rngs)
            )
            features = stage["features"][-1]
        self.classifier = nnx.Linear(features, architecture["num_classes"], rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Images [batch, height, width, channels] to logits."""
        for conv, norm in zip(self.stem, self.stem_norms, strict=True):
            x = nnx.relu(norm(conv(x)))
        for stage in self.stages:
            x = stage(x)
        return self.classifier(jnp.mean(x, axis=(1, 2)).astype(jnp.float32))


def build(architecture: dict[str, Any], *, dtype: str = "float32", seed: int = 0) -> Xception:
    """A model with its own initial values."""
    return Xception(architecture, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(seed))


def loss_of(model: Xception, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross-entropy."""
    logits = model(images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@nnx.jit
def _step(model: Xception, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array):
    loss, gradients = nnx.value_and_grad(loss_of)(model, images, labels)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def _logits(model: Xception, images: jax.Array) -> jax.Array:
    return model(images)


def batch_of(batch: int, size: int, channels: int, classes: int) -> tuple[jax.Array, jax.Array]:
    """Random images and labels, on the device."""
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (batch, size, size, channels)).astype(np.float32)
    return jax.device_put(images), jax.device_put(rng.integers(0, classes, batch).astype(np.int32))


def train_step(
    *, architecture: dict[str, Any], size: int, batch: int, dtype: str = "float32", runs: int = 1
) -> Work:
    """Steps of SGD with momentum, of `runs` models in turn."""
    channels, classes = architecture["in_channels"], architecture["num_classes"]
    images, labels = batch_of(batch, size, channels, classes)
    steps = []
    for seed in range(runs):
        model = build(architecture, dtype=dtype, seed=seed)
        model.train()
        optimizer = nnx.Optimizer(model, optax.sgd(0.01, momentum=0.9), wrt=nnx.Param)
        steps.append(nnx.cached_partial(_step, model, optimizer))

    def run(times: int) -> None:
        losses: list[Any] = []
        for _ in range(times):
            losses = [step(images, labels) for step in steps]
        jax.block_until_ready(losses)

    return Work(run, batch * runs, {"parameters": count(model)})


def inference(
    *, architecture: dict[str, Any], size: int, batch: int, dtype: str = "float32"
) -> Work:
    """Logits of a batch, in evaluation mode."""
    channels, classes = architecture["in_channels"], architecture["num_classes"]
    images, _ = batch_of(batch, size, channels, classes)
    model = build(architecture, dtype=dtype)
    model.eval()
    logits = nnx.cached_partial(_logits, model)

    def run(times: int) -> None:
        result: Any = None
        for _ in range(times):
            result = logits(images)
        jax.block_until_ready(result)

    return Work(run, batch, {"parameters": count(model)})


def count(model: Xception) -> int:
    """Trainable parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


# -- whole runs ------------------------------------------------------------------------------------


@partial(nnx.jit, static_argnames=("padding", "decay"))
def _augmented_step(model, optimizer, averages, data, rows, key, *, padding: int, decay: float):  # noqa: PLR0917
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
def _hits(model: Xception, images: jax.Array, labels: jax.Array) -> jax.Array:
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


def _accuracy(model: Xception, averages: Any, data: Any, split: str, batch: int) -> float:
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
    for seed, architecture in enumerate(runs["architectures"]):
        valid, test = train_run(architecture, runs, data, seed)
        print(json.dumps({"valid": valid, "test": test}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
