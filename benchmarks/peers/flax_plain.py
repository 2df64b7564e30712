"""Xception as one writes it in Flax NNX: its own layers, its own optimizer, its own jit.

The depthwise convolution is `nnx.Conv(feature_group_count=channels)`. The step is compiled by
`nnx.jit` and held by `nnx.cached_partial`, which Flax recommends where the cost of a call matters.
"""

from itertools import pairwise
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
        self,
        before: int,
        stage: dict[str, Any],
        *,
        norm: Any,
        activation: str,
        dtype: Any,
        rngs: nnx.Rngs,
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
        self.stem: nnx.List[nnx.Conv] = nnx.List()
        self.stem_norms: nnx.List[nnx.BatchNorm] = nnx.List()
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
        self.stages: nnx.List[Stage] = nnx.List()
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
def _step(
    model: Xception, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array
) -> jax.Array:
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
