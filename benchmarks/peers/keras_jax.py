"""Keras's own Xception on its JAX backend: `compile` and `train_on_batch`, which Keras jits."""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

from benchmarks.cases import Work


def build(*, size: int, classes: int = 1000, dtype: str = "float32") -> Any:
    """`keras.applications.Xception` for images of `size` pixels, with logits."""
    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else dtype)
    return keras.applications.Xception(
        weights=None,
        classes=classes,
        input_shape=(size, size, 3),
        classifier_activation=None,
    )


def _batch(batch: int, size: int, classes: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (batch, size, size, 3)).astype(np.float32)
    return jax.device_put(images), jax.device_put(rng.integers(0, classes, batch).astype(np.int32))


def train_step(*, size: int, batch: int, classes: int = 1000, dtype: str = "float32") -> Work:
    """Steps of SGD with momentum; no metrics beside the loss."""
    model = build(size=size, classes=classes, dtype=dtype)
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
    )
    images, labels = _batch(batch, size, classes)

    def run(times: int) -> None:
        for _ in range(times):
            model.train_on_batch(images, labels)  # returns the loss as a number: it is done

    return Work(run, batch, {"parameters": count(model)})


def inference(*, size: int, batch: int, classes: int = 1000, dtype: str = "float32") -> Work:
    """`predict_on_batch`, which returns NumPy arrays."""
    model = build(size=size, classes=classes, dtype=dtype)
    model.compile(jit_compile=True)
    images, _ = _batch(batch, size, classes)

    def run(times: int) -> None:
        for _ in range(times):
            model.predict_on_batch(images)

    return Work(run, batch, {"parameters": count(model)})


def count(model: Any) -> int:
    """Trainable parameters."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
