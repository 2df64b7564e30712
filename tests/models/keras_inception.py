"""Where each array of `keras.applications.InceptionV3` lies in `create_model("inception_v3")`.

Keras makes up the names of its layers and numbers them in the order in which it makes them, which
is that of our table.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.models.keras_xception import VARIABLES
from xception_jax.models.inception import INCEPTIONS
from xception_jax.models.towers import Convolution, Fork, Tower

NAME, APPLICATION = "inception_v3", "InceptionV3"


def _units(tower: Tower, place: str) -> Iterator[str]:
    for index, step in enumerate(tower):
        if isinstance(step, Convolution):
            yield f"{place}/{index}"
        elif isinstance(step, Fork):
            yield from (f"{place}/{index}/branches/{b}" for b in range(len(step.branches)))


def units() -> list[str]:
    """Our path of each convolution with its normalization, in the order of the table."""
    table = INCEPTIONS[NAME]
    found = list(_units(table.stem, "stem"))
    for m, towers in enumerate(table.modules):
        for t, tower in enumerate(towers):
            found += _units(tower, f"modules/{m}/towers/{t}")
    return found


def numbered(model: Any, kind: str) -> list[Any]:
    """Keras's layers called `kind`, `kind_1`, …, in the order they were made in."""
    found = {}
    for layer in model.layers:
        if (match := re.fullmatch(rf"{kind}(?:_(\d+))?", layer.name)) is not None:
            found[int(match[1] or 0)] = layer
    return [found[number] for number in sorted(found)]


def variables(model: Any) -> Iterator[tuple[Any, str]]:
    """(Keras variable, our path) of every variable of a Keras InceptionV3."""
    paths = {"predictions": "classifier"}
    for kind, part in (("conv2d", "convolution"), ("batch_normalization", "norm")):
        layers = numbered(model, kind)
        paths |= {layer.name: f"{u}/{part}" for u, layer in zip(units(), layers, strict=True)}
    for layer in model.layers:
        for variable in layer.weights:
            yield variable, f"{paths[layer.name]}/{VARIABLES[variable.name]}"


def to_ours(path: str, array: Any) -> np.ndarray:
    """Keras's array in our layout, which is the same."""
    return np.asarray(array)


def to_keras(path: str, array: Any) -> np.ndarray:
    """The inverse of `to_ours`."""
    return np.asarray(array)
