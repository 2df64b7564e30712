"""Reads `predictions.npz`: what the final evaluation of a run said of each example."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from xception_jax.records import PREDICTIONS
from xception_jax.regular_files import MAX_BYTES, read_regular


@dataclass(frozen=True)
class Predictions:
    """Per-example results of one run.

    Attributes:
        index: which example each is; None where the run does not say.
        label_share: of examples with sets of classes, the share of all classes that an example
            shows on average; None for one class an example.
    """

    correct: Bool[np.ndarray, " examples"]
    index: Shaped[np.ndarray, " examples"] | None
    label_share: float | None

    def has_same_examples(self, other: "Predictions") -> bool:
        """Whether both hold the same examples in the same order, as far as their indices tell."""
        if self.correct.shape != other.correct.shape:
            return False
        if self.index is None or other.index is None:
            return True
        return np.array_equal(self.index, other.index)


def read_predictions(directory: Path) -> Predictions | None:
    """The predictions of the run in `directory`; None where there are none, or they are damaged."""
    try:
        content = io.BytesIO(read_regular(directory / PREDICTIONS))
        with zipfile.ZipFile(content) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                return None
        with np.load(content, allow_pickle=False) as arrays:
            correct = np.asarray(arrays["correct"]).astype(bool)
            index, labels = (arrays.get(name) for name in ("index", "label"))
    # For damaged files NumPy raises nearly anything, such as errors of Python's own tokenizer; and
    # MemoryError for a header that declares more than there is.
    except Exception:
        return None
    if correct.ndim != 1 or not correct.size:
        return None
    if labels is None or labels.ndim != 2 or not labels.size or labels.dtype.kind not in "biuf":
        return Predictions(correct, index, None)
    return Predictions(correct, index, float(np.mean(labels != 0)))
