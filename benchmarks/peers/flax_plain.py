"""The models as one writes them in Flax NNX: its own layers, its own optimizer, its own jit.

A convolution over segments is `nnx.Conv(feature_group_count=segments)`. The step is compiled by
`nnx.jit` and held by `nnx.cached_partial`, which Flax recommends where the cost of a call matters.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.cases import Work

Layer = dict[str, Any]
PATH = "our_path"  # attribute of a module: where our model has its arrays


class Parallel(nnx.Module):
    """Branches on the same input, their outputs added up or concatenated."""

    def __init__(self, branches: list[nnx.Sequential], join: str) -> None:
        self.branches: nnx.List[nnx.Sequential] = nnx.List(branches)
        self.join = join

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, channels] -> [batch, height / strides, …, features]."""
        outputs = [branch(x) for branch in self.branches]
        return sum(outputs) if self.join == "sum" else jnp.concatenate(outputs, axis=-1)


class Model(nnx.Module):
    """The model that an `architecture` describes (`benchmarks.architectures`)."""

    def __init__(self, architecture: dict[str, Any], *, dtype: Any, rngs: nnx.Rngs) -> None:
        self.layers = _sequence(architecture["layers"], architecture, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Images [batch, height, width, channels] to logits."""
        return self.layers(x)


def _sequence(
    layers: list[Layer], model: dict[str, Any], dtype: Any, rngs: nnx.Rngs
) -> nnx.Sequential:
    return nnx.Sequential(*(_layer(layer, model, dtype, rngs) for layer in layers))


def _layer(layer: Layer, model: dict[str, Any], dtype: Any, rngs: nnx.Rngs) -> Callable[..., Any]:
    """The module or function of a layer; modules with parameters get its `path`."""
    kind = layer["kind"]
    if kind == "parallel":
        branches = [_sequence(branch, model, dtype, rngs) for branch in layer["branches"]]
        return Parallel(branches, layer["join"])
    if kind in MODULES:
        module = MODULES[kind](layer, model, dtype, rngs)
        setattr(module, PATH, layer.get("path", ""))
        return module
    function: Callable[..., Any] = FUNCTIONS[kind](layer)
    return function


def _conv(layer: Layer, _: dict[str, Any], dtype: Any, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        layer["inputs"],
        layer["features"],
        tuple(layer["kernel"]),
        layer["strides"],
        padding=layer["padding"],
        feature_group_count=layer["groups"],
        use_bias=False,
        dtype=dtype,
        rngs=rngs,
    )


def _norm(layer: Layer, model: dict[str, Any], dtype: Any, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(
        layer["features"],
        momentum=model["norm_momentum"],
        epsilon=model["norm_epsilon"],
        use_scale=layer["scale"],
        dtype=dtype,
        rngs=rngs,
    )


def _dense(layer: Layer, _: dict[str, Any], dtype: Any, rngs: nnx.Rngs) -> nnx.Linear:
    dtype = jnp.float32 if layer["path"] == "classifier" else dtype
    return nnx.Linear(layer["inputs"], layer["features"], dtype=dtype, rngs=rngs)


def _dropout(layer: Layer, _: dict[str, Any], __: Any, rngs: nnx.Rngs) -> nnx.Dropout:
    return nnx.Dropout(layer["rate"], rngs=rngs)


MODULES: dict[str, Callable[..., nnx.Module]] = {
    "conv": _conv,
    "norm": _norm,
    "dense": _dense,
    "dropout": _dropout,
}


FUNCTIONS: dict[str, Callable[[Layer], Callable[..., Any]]] = {
    "activation": lambda layer: getattr(jax.nn, layer["name"]),
    "max_pool": lambda layer: partial(
        nnx.max_pool,
        window_shape=(3, 3),
        strides=(layer["strides"],) * 2,
        padding=layer["padding"],
    ),
    "average_pool": lambda _: partial(
        nnx.avg_pool,
        window_shape=(3, 3),
        strides=(1, 1),
        padding="SAME",
        count_include_pad=False,
    ),
    "mean": lambda layer: partial(_mean, grid=layer["grid"]),
}


def _mean(x: jax.Array, grid: int) -> jax.Array:
    """[batch, height, width, features] -> [batch, grid * grid * features]."""
    x = x.astype(jnp.float32)
    if grid > 1:
        (_, height, width, _) = x.shape
        parts = [
            jnp.mean(x[:, rows, columns], axis=(1, 2))
            for rows in _parts(height, grid)
            for columns in _parts(width, grid)
        ]
        return jnp.concatenate(parts, axis=-1)
    return jnp.mean(x, axis=(1, 2))


def _parts(size: int, grid: int) -> list[slice]:
    return [slice(i * size // grid, -(-(i + 1) * size // grid)) for i in range(grid)]


def build(architecture: dict[str, Any], *, dtype: str = "float32", seed: int = 0) -> Model:
    """A model with its own initial values."""
    return Model(architecture, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(seed))


def arrays(model: Model) -> Iterator[tuple[str, nnx.Variable]]:
    """(path in our model, variable) of everything that the model holds."""
    names = {"var": "variance"}
    for _, module in nnx.iter_modules(model):
        for name in ("kernel", "scale", "bias", "mean", "var"):
            variable = getattr(module, name, None)
            if isinstance(variable, nnx.Variable) and variable.get_value() is not None:
                within = isinstance(module, nnx.Conv)  # whose path is that of its only kernel
                path = getattr(module, PATH)
                path = path if within else f"{path}/{names.get(name, name)}"
                yield path, variable


def loss_of(model: Model, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross-entropy."""
    logits = model(images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@nnx.jit
def _step(
    model: Model, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array
) -> jax.Array:
    loss, gradients = nnx.value_and_grad(loss_of)(model, images, labels)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def _logits(model: Model, images: jax.Array) -> jax.Array:
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


def count(model: Model) -> int:
    """Trainable parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
