"""Where each array of `keras.applications.Xception` lies in `create_model("xception")`.

`ours` is the whole mapping, written on names alone; the rest carries values along it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

NAME, APPLICATION = "xception", "Xception"
# Keras numbers its blocks from 1; block 1 is the stem, whose convolutions are numbered too.
MODULES = {
    **{f"block{2 + i}": f"entry/{i}" for i in range(3)},
    **{f"block{5 + i}": f"middle/{i}" for i in range(8)},
    **{f"block{13 + i}": f"exit/{i}" for i in range(2)},
}
# Its residual convolutions have no names but those that Keras makes up; they come in this order.
PROJECTIONS = ("entry/0", "entry/1", "entry/2", "exit/0")
VARIABLES = {
    "kernel": "kernel",
    "bias": "bias",
    "depthwise_kernel": "spatial_kernel",
    "pointwise_kernel": "pointwise_kernel",
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "variance",
}


def layer_paths(names: Iterable[str]) -> dict[str, str]:
    """Our path of each of Keras's layers that holds variables, given by name in its own order."""
    names = list(names)
    unnamed = [name for name in names if not name.startswith(("block", "predictions"))]
    convolutions = [name for name in unnamed if name.startswith("conv2d")]
    norms = [name for name in unnamed if name.startswith("batch_normalization")]
    paths = {"predictions": "classifier"}
    paths |= {name: f"{m}/projection" for m, name in zip(PROJECTIONS, convolutions, strict=True)}
    paths |= {name: f"{m}/projection_norm" for m, name in zip(PROJECTIONS, norms, strict=True)}
    for name in names:
        if name.startswith("block"):
            block, layer, *norm = name.split("_")
            index = int(layer.removeprefix("sepconv").removeprefix("conv")) - 1
            stem, kind = block == "block1", "norms" if norm else "convolutions"
            place = ("stem_norms" if norm else "stem") if stem else f"{MODULES[block]}/{kind}"
            paths[name] = f"{place}/{index}"
    return paths


def ours(layer_path: str, variable: str) -> str:
    """Our path of a Keras variable of the layer whose path of ours is `layer_path`."""
    return f"{layer_path}/{VARIABLES[variable]}"


def variables(model: Any) -> Iterator[tuple[Any, str]]:
    """(Keras variable, our path) of every variable of a Keras Xception."""
    layers = [layer for layer in model.layers if layer.weights]
    paths = layer_paths(layer.name for layer in layers)
    for layer in layers:
        for variable in layer.weights:
            yield variable, ours(paths[layer.name], variable.name)


def to_ours(path: str, array: Any) -> np.ndarray:
    """Keras's array in our layout: its depthwise kernels are [k, k, channels, 1]."""
    value = np.asarray(array)
    return value.transpose(0, 1, 3, 2) if path.endswith("spatial_kernel") else value


def to_keras(path: str, array: Any) -> np.ndarray:
    """The inverse of `to_ours`."""
    return to_ours(path, array)  # exchanging two axes is its own inverse
