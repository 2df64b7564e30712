"""Pretrained weights: files of Keras and timm are read, and files of Keras written."""

from xception_jax.pretrained.files import SOURCES, TIMM, open_source
from xception_jax.pretrained.layers import is_head
from xception_jax.pretrained.loading import load_weights, read_values, save_keras_weights
from xception_jax.pretrained.preprocessing import Preprocessing, expected_by
from xception_jax.pretrained.tensors import WeightsMismatch

__all__ = [
    "SOURCES",
    "TIMM",
    "Preprocessing",
    "WeightsMismatch",
    "expected_by",
    "is_head",
    "load_weights",
    "open_source",
    "read_values",
    "save_keras_weights",
]
