"""Pairs of a Keras application and our model with the same weights, and what is compared of them.

Which array lies where is told by a module like `keras_xception`: NAME, APPLICATION, `variables`,
`to_ours` and `to_keras`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from xception_jax.models import ModelFunction, model_function


@dataclass
class Pair:
    carried: ModuleType
    keras: Any
    paths: dict[int, str]  # ours, by the identity of Keras's variable
    function: ModelFunction
    parameters: dict[str, jax.Array]
    batch_stats: dict[str, jax.Array]
    images: jax.Array

    def theirs(self, trainable, rest, images, train: bool):
        return self.keras.stateless_call(trainable, rest, images, training=train)


def redraw(path: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A first value for a parameter that neither lets the signal die out nor explode."""
    if path.endswith("/scale"):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) == 1:
        return rng.normal(0, 0.3, shape)
    fan_in = 9 if path.endswith("spatial_kernel") else np.prod(shape[:-1])
    return rng.normal(0, np.sqrt(1 / fan_in), shape)


def make_pair(carried: ModuleType, size: int, dtype: str, seed: int) -> Pair:
    """Both models with the same values: all parameters redrawn, all statistics randomised.

    The statistics lie about the ones that the images have, so that the network does in evaluation
    what a trained one does. With Keras's own first values its signal all but dies out: the logits
    of two images differ by 1e-5, and their agreement would say little.
    """
    rng = np.random.default_rng(seed)
    keras.config.set_dtype_policy(dtype)
    try:
        model = getattr(keras.applications, carried.APPLICATION)(
            weights=None, input_shape=(size, size, 3), classifier_activation=None
        )
    finally:
        keras.config.set_dtype_policy("float32")
    function = model_function(carried.NAME, dtype=dtype)
    paths = {id(variable): path for variable, path in carried.variables(model)}
    values = {
        leaf.path: jnp.asarray(redraw(leaf.path, leaf.shape, rng), dtype)
        for leaf in function.parameters
    }
    # Keras's input layer rounds to float32 whatever the rest computes in.
    # Each has a tint of its own: noise alone is the same to a network that averages over pixels.
    drawn = rng.uniform(-0.5, 0.5, (16, size, size, 3)) + rng.uniform(-0.5, 0.5, (16, 1, 1, 3))
    images = jnp.asarray(drawn.astype(np.float32), dtype)
    zeros = {leaf.path: jnp.zeros(leaf.shape, dtype) for leaf in function.batch_stats}
    _, tracked = jax.jit(function.apply, static_argnames="train")(values, zeros, images, train=True)
    batch_stats = {}
    for path in (path for path in tracked if path.endswith("/mean")):
        mean, variance = (
            np.asarray(tracked[name]) / 0.01 for name in (path, path[: -len("mean")] + "variance")
        )
        # Of a few pixels of two images, a variance can be next to nothing by chance, and what is
        # divided by it nothing but rounding: hence a share of the mean one. A mean is moved by a
        # share of its channel's deviation, or the layers would amplify one another's shifts.
        spread = variance * rng.uniform(0.7, 2.1, variance.shape) + 0.1 * np.mean(variance)
        shift = rng.uniform(-0.3, 0.3, mean.shape) * np.sqrt(spread)
        batch_stats[path] = jnp.asarray(mean + shift, dtype)
        batch_stats[path[: -len("mean")] + "variance"] = jnp.asarray(spread, dtype)
    everything = values | batch_stats
    for variable, path in carried.variables(model):
        variable.assign(carried.to_keras(path, everything.pop(path)))
    assert not everything
    return Pair(carried, model, paths, function, values, batch_stats, images[:2])


@contextmanager
def keras_in_float64() -> Iterator[None]:
    """Computes in float64, in which rounding does not decide a ReLU or a maximum."""
    from keras.src import backend

    original = backend.result_type

    def result_type(*types: Any) -> str:
        """Keras's own says float32, in which its batch normalization then computes."""
        return "float64" if "float64" in map(str, types) else original(*types)

    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(backend, "result_type", result_type)
        yield


def values_of(variables: list[Any]) -> list[jax.Array]:
    return [variable.value for variable in variables]


def assert_same_logits(pair: Pair) -> None:
    trainable, rest = pair.keras.trainable_variables, pair.keras.non_trainable_variables
    theirs, _ = jax.jit(pair.theirs, static_argnums=3)(
        values_of(trainable), values_of(rest), pair.images, False
    )
    ours, _ = jax.jit(pair.function.apply, static_argnames="train")(
        pair.parameters, pair.batch_stats, pair.images, train=False
    )
    error, difference = np.max(np.abs(ours - theirs)), np.std(theirs[0] - theirs[1])
    print(f"max abs error {error:.3g}; the logits of the images differ by {difference:.3g}")
    assert difference > 0.01, "the images must make a difference"
    assert ours.dtype == theirs.dtype == jnp.float32
    # The project's bound for float32 through some 40 convolutions, on logits of size 1.
    assert error < 1e-4


def assert_same_modules(
    pair: Pair,
    names: list[str],
    outputs: list[Any],
    ours: Callable[[Any, jax.Array], list[jax.Array]],
) -> None:
    """Compares the outputs of all modules in float64, and names the first that differs.

    Args:
        pair: the two models.
        names: of the modules, in order.
        outputs: Keras's symbolic tensor of each.
        ours: (model, images) -> the image after each.
    """
    part = keras.Model(pair.keras.inputs, outputs)

    @jax.jit
    def theirs(trainable, rest, images):
        return part.stateless_call(trainable, rest, images, training=False)[0]

    right = theirs(
        values_of(part.trainable_variables), values_of(part.non_trainable_variables), pair.images
    )
    mine = jax.jit(lambda p, s, x: ours(pair.function.bind(p, s), x))(
        pair.parameters, pair.batch_stats, pair.images
    )
    worst = 0.0
    for name, a, b in zip(names, mine, right, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        # Up to 48 layers in a row of sums of at most 4,032 products at float64's 1e-16.
        error = np.max(np.abs(a - b)) / np.max(np.abs(b))
        assert error < 1e-12, f"{name}: relative error {error:.2g}"
        worst = max(worst, float(error))
    print(f"{len(names)} modules, largest relative error {worst:.2g}")


def assert_same_gradients(pair: Pair, train: bool) -> None:
    """Compares every weight's gradient, and the moving statistics after a step, in float64."""

    def loss(logits):
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[:, 7])

    def theirs(trainable, rest, images):
        logits, new = pair.theirs(trainable, rest, images, train)
        return loss(logits), new

    def ours(parameters, batch_stats, images):
        logits, new = pair.function.apply(parameters, batch_stats, images, train=train)
        return loss(logits), new

    trainable, rest = pair.keras.trainable_variables, pair.keras.non_trainable_variables
    right, right_statistics = jax.jit(jax.grad(theirs, has_aux=True))(
        values_of(trainable), values_of(rest), pair.images
    )
    mine, my_statistics = jax.jit(jax.grad(ours, has_aux=True))(
        pair.parameters, pair.batch_stats, pair.images
    )
    assert len(trainable) == len(mine)
    errors = {}
    for variable, gradient in zip(trainable, right, strict=True):
        path = pair.paths[id(variable)]
        value = pair.carried.to_ours(path, gradient)
        errors[path] = np.linalg.norm(mine[path] - value) / np.linalg.norm(value)
    worst = max(errors, key=lambda path: errors[path])
    print(f"{len(errors)} gradients, largest relative error {errors[worst]:.2g}, of {worst}")
    # The project's bound is 1e-3. Ours is float64 throughout; Keras averages its last image in
    # float32 all the same, and that rounding (6e-8) goes back through all layers.
    assert errors[worst] < 1e-5, worst
    for variable, value in zip(rest, right_statistics, strict=True):
        known = pair.paths.get(id(variable))
        if known is not None:  # else the state of Keras's seeds
            np.testing.assert_allclose(my_statistics[known], value, rtol=1e-9, err_msg=known)
            assert train == bool(np.any(np.asarray(value) != np.asarray(variable.value)))
