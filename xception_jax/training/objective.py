"""Tasks: the loss, what evaluation records of each example, and the metrics of a split.

The labels of the data decide on the task; nothing else in training knows the difference.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from xception_jax.data import DatasetInfo
from xception_jax.errors import InputError
from xception_jax.training.metrics import (
    any_in_top,
    cross_entropy,
    in_top,
    mean_average_precision,
    sigmoid_cross_entropy,
)

ImageLabels = Int[Array, " batch"] | UInt8[Array, "batch classes"]
Logits = Float[Array, "batch classes"]
Examples = dict[str, np.ndarray]


@dataclass(frozen=True)
class SingleLabel:
    """The task of one class per image: softmax cross-entropy, top-1 and top-5 accuracy.

    Attributes:
        label_smoothing: probability spread over all classes in the training loss.
        metric: name of the one of `metrics` by which models are compared; higher is better.
    """

    label_smoothing: float = 0.0
    metric: ClassVar[str] = "top1"

    def loss(self, logits: Logits, labels: ImageLabels) -> Float[Array, " batch"]:
        """Cross-entropy of each example with smoothed labels."""
        return cross_entropy(logits, labels, self.label_smoothing)

    def in_top(self, logits: Logits, labels: ImageLabels, k: int) -> Bool[Array, " batch"]:
        """Whether the label is among the `k` best-scoring classes."""
        return in_top(logits, labels, k)

    def outputs(self, logits: Logits, labels: ImageLabels) -> dict[str, Array]:
        """`loss` without smoothing, `label`, `prediction`, `top1` and `top5`."""
        return _outputs(self, logits, labels) | {"loss": cross_entropy(logits, labels)}

    def metrics(self, examples: Examples) -> dict[str, float]:
        """Means of `loss`, `top1` and `top5`."""
        return _means(examples)


@dataclass(frozen=True)
class MultiLabel:
    """The task of a set of classes per image: sigmoid cross-entropy, MAP@100 by frequency.

    Attributes:
        class_frequencies: how common each class is; weights of the classes in MAP@100.
        metric: as for `SingleLabel`.
    """

    class_frequencies: tuple[float, ...]
    metric: ClassVar[str] = "map100"

    def loss(self, logits: Logits, labels: ImageLabels) -> Float[Array, " batch"]:
        """Cross-entropy of each example, summed over its classes as independent ones."""
        return sigmoid_cross_entropy(logits, labels)

    def in_top(self, logits: Logits, labels: ImageLabels, k: int) -> Bool[Array, " batch"]:
        """Whether one of the `k` best-scoring classes is among the labels."""
        return any_in_top(logits, labels, k)

    def outputs(self, logits: Logits, labels: ImageLabels) -> dict[str, Array]:
        """The outputs of `SingleLabel`, and `scores`, the logits, float32 [batch, classes]."""
        return _outputs(self, logits, labels) | {"scores": logits.astype(jnp.float32)}

    def metrics(self, examples: Examples) -> dict[str, float]:
        """Means of `loss`, `top1` and `top5`, and `map100` (paper section 4.2)."""
        weights = np.array(self.class_frequencies)
        map100 = mean_average_precision(examples["scores"], examples["label"], weights, k=100)
        return {**_means(examples), "map100": map100}


Task = SingleLabel | MultiLabel  # hashable: part of what a run compiles


def make_task(info: DatasetInfo, *, label_smoothing: float) -> Task:
    """The task that a data set's labels ask for.

    Args:
        info: description of the data set.
        label_smoothing: probability spread over all classes in the training loss.

    Raises:
        InputError: label smoothing with labels that are sets of classes.
    """
    if info.class_frequencies is None:
        return SingleLabel(label_smoothing)
    if label_smoothing:
        reason = f"spreads the probability of one label, and an image of {info.name} has several"
        raise InputError("train.label_smoothing", label_smoothing, reason, 0.0)
    return MultiLabel(info.class_frequencies)


def _outputs(task: Task, logits: Logits, labels: ImageLabels) -> dict[str, jax.Array]:
    return {
        "loss": task.loss(logits, labels),
        "label": labels,
        "prediction": jnp.argmax(logits, axis=-1).astype(jnp.int32),
        "top1": task.in_top(logits, labels, 1),
        "top5": task.in_top(logits, labels, 5),
    }


def _means(examples: Examples) -> dict[str, float]:
    names = ("loss", "top1", "top5")
    return {name: float(np.mean(examples[name], dtype=np.float64)) for name in names}
