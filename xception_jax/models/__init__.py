"""Models as Flax modules, and as pure functions of flat dictionaries of arrays."""

from xception_jax.models.blocks import BlockSpec, SeparableConv
from xception_jax.models.counting import Row, count
from xception_jax.models.functional import ModelFunction, functionalize
from xception_jax.models.registry import (
    create_model,
    inert_settings,
    list_models,
    model_function,
)
from xception_jax.models.weights import load_weights, save_keras_weights

__all__ = [
    "BlockSpec",
    "ModelFunction",
    "Row",
    "SeparableConv",
    "count",
    "create_model",
    "functionalize",
    "inert_settings",
    "list_models",
    "load_weights",
    "model_function",
    "save_keras_weights",
]
