"""Small models with random values, and comparisons of their values."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.same_run import assert_same_arrays
from xception_jax.models import ModelFunction, functionalize, model_function
from xception_jax.pretrained import open_source, read_values

# The paper's model, but narrow and shallow: as many kinds of layers, a hundredth of the numbers.
SMALL: dict[str, Any] = {"width": 0.05, "middle_modules": 1, "num_classes": 7}


def draw(
    path: str, shape: tuple[int, ...], rng: np.random.Generator, gain: float = 1
) -> np.ndarray:
    """Draws an array with which activations keep their magnitude.

    `path` is a name of this package or of Keras. Without residual connections the variance needs a
    `gain` of 2, since every ReLU halves it.
    """
    name = path.rpartition("/")[2]
    if name in ("scale", "gamma"):
        value = rng.uniform(0.5, 1.0, shape)
    elif name in ("variance", "moving_variance"):
        value = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 1:
        value = rng.normal(0, 0.3, shape)
    else:
        depthwise = name in ("spatial_kernel", "depthwise_kernel")
        value = rng.normal(0, np.sqrt(gain / (9 if depthwise else np.prod(shape[:-1]))), shape)
    return value.astype(np.float32)


def redraw(model: Any, rng: np.random.Generator, gain: float = 1) -> None:
    """Gives the variables of a Keras model the values that `draw` draws."""
    for variable in model.weights:
        variable.assign(draw(variable.name, tuple(variable.shape), rng, gain))


@lru_cache
def small_function() -> ModelFunction:
    return model_function("xception", **SMALL)


def random_model(rng: np.random.Generator, name: str = "xception", **settings: Any) -> nnx.Module:
    """Builds a small model with random parameters and statistics.

    `create_model` would initialize them first, and compile a program for each shape to do so.
    """
    function = model_function(name, **(SMALL | settings))
    parameters, batch_stats = (
        {leaf.path: jnp.asarray(draw(leaf.path, leaf.shape, rng)) for leaf in leaves}
        for leaves in (function.parameters, function.batch_stats)
    )
    return function.bind(parameters, batch_stats)


def values_of(model: nnx.Module) -> dict[str, np.ndarray]:
    """Copies of all parameters and statistics by path."""
    _, parameters, batch_stats = functionalize(model)
    return {path: np.array(value) for path, value in {**parameters, **batch_stats}.items()}


def read(path: Path, function: ModelFunction | None = None, **options: Any) -> dict[str, Any]:
    """Reads the values of a file for a model, by default the small one."""
    function = small_function() if function is None else function
    with open_source(path) as source:
        return read_values(source, function, **options)


def assert_equal(values: dict[str, Any], expected: dict[str, Any]) -> None:
    """Fails unless the arrays have the same paths and are equal bit for bit."""
    assert_same_arrays(values, expected)
