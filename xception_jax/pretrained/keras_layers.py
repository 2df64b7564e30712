"""Reads the layers of a whole Keras model from its configuration."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xception_jax.json_values import as_list, as_mapping, as_text, parse_json
from xception_jax.pretrained.tensors import damaged

KerasLayers = Sequence[tuple[str, dict[str, Any]]]
"""Class and settings of every layer of a Keras model, in the order of its configuration."""
_MODELS = ("Functional", "Model", "Sequential")
_NAMES_OF_OPERATIONS = ("Add", "Concatenate", "Softmax")
"""Layers whose names Keras gives to operations as well, such as that of `x + 1`."""


def read_layers(path: Path, text: str) -> KerasLayers:
    """Reads the layers of a model's configuration, those of models inside of models included.

    Args:
        path: path of the model's file, for messages.
        text: the configuration, JSON.

    Raises:
        InputError: the configuration is damaged.
    """
    try:
        return list(_layers(as_mapping(parse_json(text))))
    except ValueError as error:
        raise damaged(path, f"its configuration: {error}") from error


def _layers(model: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    settings = model.get("config")
    # Until Keras 2.2.3 the settings of a Sequential were the list of its layers.
    layers = settings if isinstance(settings, list) else as_mapping(settings).get("layers")
    for layer in as_list(layers):
        if isinstance(layer, dict):
            kind = as_text(layer.get("class_name"))
            if kind in _MODELS:
                yield from _layers(layer)
            else:
                of_layer = as_mapping(layer.get("config"))
                yield _class(kind, as_text(layer.get("registered_name")), of_layer), of_layer


def _class(kind: str, registered: str, settings: dict[str, Any]) -> str:
    """The class of a layer; of one that is not Keras's own the name says so.

    Args:
        kind: its name, which operations and the user's classes may share with a layer of Keras.
        registered: the name by which a class is registered that is no public one of Keras.
        settings: its settings; operations have no "trainable", also in files that register nothing.
    """
    if kind in _NAMES_OF_OPERATIONS and "trainable" not in settings:
        return f"operation {kind}"
    return f"custom {kind}" if registered else kind
