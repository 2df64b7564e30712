"""Models as Flax modules, and as pure functions of flat dictionaries of arrays.

`load_weights` and `save_keras_weights` are offered here too, beside `create_model`. They belong to
`xception_jax.pretrained`, which stands on this package, and are looked up there when asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xception_jax.models.blocks import SeparableConv
from xception_jax.models.counting import ModuleCounts, count
from xception_jax.models.functional import ModelFunction, functionalize
from xception_jax.models.layers import BatchNorm, Conv, Dense
from xception_jax.models.registry import (
    create_model,
    list_models,
    model_config,
    model_from_config,
    model_function,
    unused_settings,
)

if TYPE_CHECKING:
    from xception_jax.pretrained import load_weights, save_keras_weights

__all__ = [
    "BatchNorm",
    "Conv",
    "Dense",
    "ModelFunction",
    "ModuleCounts",
    "SeparableConv",
    "count",
    "create_model",
    "functionalize",
    "list_models",
    "load_weights",
    "model_config",
    "model_from_config",
    "model_function",
    "save_keras_weights",
    "unused_settings",
]


def __getattr__(name: str) -> Any:
    """The functions of `xception_jax.pretrained` that this package offers too."""
    if name in ("load_weights", "save_keras_weights"):
        return getattr(import_module("xception_jax.pretrained"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
