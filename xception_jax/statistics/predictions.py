"""Reading of `predictions.npz`, the outcome of a run's final evaluation for each example."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from xception_jax.json_values import as_mapping, as_text
from xception_jax.records import PREDICTIONS
from xception_jax.regular_files import MAX_BYTES, read_regular
from xception_jax.zip_members import BOUNDED_METHODS


@dataclass(frozen=True)
class Predictions:
    """Per-example results of one run.

    Attributes:
        correct: whether the run classifies each example correctly.
        examples: digest of the indices of the examples; None where the run does not say them.
        label_share: share of all classes that an example shows on average, where examples have sets
            of classes; None for one class an example.
        split: name of the split.
        labels: digest of the labels of that split, in order; None where the run does not say.
    """

    correct: Bool[np.ndarray, " examples"]
    examples: str | None
    label_share: float | None
    split: str = ""
    labels: str | None = None

    def has_same_examples(self, other: "Predictions") -> bool:
        """Whether both hold the same examples in the same order, as far as can be told.

        Indices count within the split, which may be another one for each seed: its labels tell.
        """
        if self.correct.shape != other.correct.shape or self.split != other.split:
            return False
        if self.labels and other.labels and self.labels != other.labels:
            return False
        return self.examples is None or other.examples is None or self.examples == other.examples


def read_predictions(directory: Path, data: Mapping[str, Any] | None = None) -> Predictions | None:
    """The predictions of a run; None where there are none, or they are damaged.

    Args:
        directory: directory of the run.
        data: the digests of its data, see `results.Run`; None: they are not known.
    """
    try:
        content = io.BytesIO(read_regular(directory / PREDICTIONS))
        with zipfile.ZipFile(content) as archive:
            members = archive.infolist()
        if sum(member.file_size for member in members) > MAX_BYTES:
            return None
        if not all(member.compress_type in BOUNDED_METHODS for member in members):
            return None
        with np.load(content, allow_pickle=False) as arrays:
            correct = np.asarray(arrays["correct"]).astype(bool)
            index, labels = (arrays.get(name) for name in ("index", "label"))
            split = str(arrays.get("split", ""))
    # For damaged files NumPy raises nearly anything, such as errors of Python's own tokenizer; and
    # MemoryError for a header that declares more than there is.
    except Exception:
        return None
    if correct.ndim != 1 or not correct.size:
        return None
    has_sets = labels is not None and labels.ndim == 2 and labels.size > 0
    share = float(np.mean(labels != 0)) if has_sets and labels.dtype.kind in "biuf" else None
    return Predictions(correct, _digest(index), share, split, digest_of_labels(data, split))


def digest_of_labels(data: Mapping[str, Any] | None, split: str) -> str | None:
    """The digest of the labels of a split that a run recorded in its `data`; None: it did not."""
    digests = as_mapping(as_mapping((data or {}).get("splits")).get(split))
    return as_text(digests.get("labels")) or None


def _digest(index: Shaped[np.ndarray, "*shape"] | None) -> str | None:
    """A digest that arrays share where their values are equal, whatever the type of integer."""
    if index is None:
        return None
    # Of what is no index, the bytes as they are: as text they would take tens of times the memory.
    content = index.astype("<i8") if index.dtype.kind in "iu" else index
    digest = hashlib.sha256(repr(index.shape).encode())
    digest.update(np.ascontiguousarray(content).tobytes())
    return digest.hexdigest()
