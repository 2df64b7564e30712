"""The record of what arms of one seed must share: `pairing.json`, which the audit reads.

It holds hashes of the initial values, of the augmented images and labels of the first batches, and
for each epoch of the training examples in order and of the augmentation's draws. Two runs are
paired as far as these agree. All of it is a function of the run's settings, its data and the step,
so a run that was interrupted leaves the same file.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xception_jax.checksums import has_valid_checksum, with_checksum
from xception_jax.config import Config, read_json
from xception_jax.data import Pipeline
from xception_jax.errors import InputError
from xception_jax.json_values import as_mapping
from xception_jax.models.functional import Params
from xception_jax.records import PAIRING_SCHEMA
from xception_jax.runtime import run_directory as files
from xception_jax.training.setup import Schedule
from xception_jax.training.step import augmented_images, stream_key

_DIGITS = 16
# Of a streaming set these examples are read once more, when the run starts.
_FIRST_BATCHES = 2
_ROWS = 64
_augment = jax.jit(augmented_images, static_argnames=("augmentation", "padding"))


class Pairing:
    """Writes `pairing.json` of one run.

    Args:
        path: path of the file.
        config: config of the run.
        schedule: schedule of the run.
        pipeline: the run's data.
        initial: the parameters before the first step; None: the file, of a run that resumes, has
            their hashes already.
        step: step from which the run resumes, or 0; earlier epochs are computed again, not read.

    Raises:
        InputError: the hashes of the initial values can only be read, and the file is damaged.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        *,
        schedule: Schedule,
        pipeline: Pipeline,
        initial: Params | None,
        step: int,
    ) -> None:
        self._path, self._config, self._schedule = path, config, schedule
        self._initial = _recorded(path) if initial is None else _summaries(initial)
        self._first_batches = _first_batches(config, pipeline)
        self._epochs: list[dict[str, Any]] = []
        self._order, self._rows = hashlib.sha256(), 0
        for earlier in range(step):
            self._add(pipeline.train_indices(earlier))
        self._close_at_the_end(step)
        self._write()

    def add_batch(self, step: int, indices: np.ndarray) -> None:
        """Adds the examples that the devices have been given as the batch of a step.

        Args:
            step: number of the step, from 1.
            indices: indices of the examples, int32 [batch].
        """
        epochs_before = len(self._epochs)
        self._add(indices)
        self._close_at_the_end(step)
        if len(self._epochs) > epochs_before:
            self._write()

    def _close_at_the_end(self, step: int) -> None:
        """Closes the epoch within which the run ends, after its last step."""
        if step == self._schedule.total and self._rows:
            self._close_epoch()

    def _add(self, indices: np.ndarray) -> None:
        left = self._examples - self._rows
        while len(indices) >= left:
            self._order.update(_bytes(indices[:left]))
            self._rows += left
            self._close_epoch()
            indices, left = indices[left:], self._examples
        self._order.update(_bytes(indices))
        self._rows += len(indices)

    @property
    def _examples(self) -> int:
        return self._schedule.examples_per_epoch

    def _close_epoch(self) -> None:
        epoch = len(self._epochs) + 1
        draws = self._hash_of_draws((epoch - 1) * self._examples, self._rows)
        order = self._order.hexdigest()[:_DIGITS]
        self._epochs.append({"epoch": epoch, "batches": order, "augmentation": draws})
        self._order, self._rows = hashlib.sha256(), 0

    def _hash_of_draws(self, first: int, count: int) -> str:
        """A hash of all that the draws of `count` rows from the run's row `first` depend on."""
        data, key = self._config.data, stream_key(self._config.seed, "augmentation")
        depends_on = {
            "augmentation": data.augmentation,
            "padding": data.padding,
            "key": jax.random.key_data(key).tolist(),
            "rows": [first, count],
            "batch": self._schedule.examples_per_step,
        }
        return hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()[:_DIGITS]

    def _write(self) -> None:
        content = {
            "schema": PAIRING_SCHEMA,
            "initial": self._initial,
            "first_batches": self._first_batches,
            "epochs": self._epochs,
        }
        files.write_whole(self._path, json.dumps(with_checksum(content), indent=1) + "\n")


def _first_batches(config: Config, pipeline: Pipeline) -> list[dict[str, Any]]:
    """Hashes of the augmented images, and of the labels, that begin the first batches."""
    rows = []
    for step in range(_FIRST_BATCHES):
        batch = pipeline.train_examples(step, _ROWS)
        images = _augment(
            batch["image"],
            jnp.int32(config.seed),
            jnp.int32(step),
            jnp.arange(len(batch["image"])),
            augmentation=config.data.augmentation,
            padding=config.data.padding,
        )
        pixels = np.ascontiguousarray(images).tobytes()
        labels = np.ascontiguousarray(batch["label"]).tobytes()
        rows.append(
            {
                "step": step + 1,
                "rows": len(batch["image"]),
                "pixels": hashlib.sha256(pixels).hexdigest()[:_DIGITS],
                "labels": hashlib.sha256(labels).hexdigest()[:_DIGITS],
            }
        )
    return rows


def _summaries(initial: Params) -> dict[str, Any]:
    return {name: _summary(value) for name, value in sorted(initial.items())}


def _recorded(path: Path) -> dict[str, Any]:
    """What the file has of the initial values; nothing, as the audit will say, if it is gone."""
    if not path.exists():
        return {}
    record = read_json(path)
    if "sha256" in record and not has_valid_checksum(record):  # earlier versions wrote none
        reason = "was changed after the run wrote it; delete it to go on"
        raise InputError("file", str(path), reason)
    return dict(as_mapping(record.get("initial")))


def _summary(value: Any) -> dict[str, Any]:
    array = np.asarray(value, np.float32)
    digest = hashlib.sha256(array.tobytes()).hexdigest()[:_DIGITS]
    return {"shape": list(array.shape), "sha256": digest}


def _bytes(indices: np.ndarray) -> bytes:
    return np.ascontiguousarray(indices, np.int32).tobytes()
