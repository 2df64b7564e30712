"""The weights that runs start from: read once, known by their digest, the same wherever a run goes.

The run's id holds their path. What lies there decides on the result, so `run.json` records a digest
of it, and a run goes on only from the weights that it began with.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from xception_jax.config import Config
from xception_jax.data import DatasetInfo
from xception_jax.errors import InputError
from xception_jax.models.functional import Params
from xception_jax.pretrained.importing import initial_from
from xception_jax.records import ENDED, INITIAL_WEIGHTS
from xception_jax.regular_files import kind_of
from xception_jax.runtime import hosts
from xception_jax.training.setup import activations_of, make_model
from xception_jax.training.state import TrainState

_SETTING = "train.initial_weights"


@dataclass(frozen=True)
class InitialWeights:
    """Weights from which runs start.

    Attributes:
        path: the file or directory that they were read from.
        parameters: parameters by path.
        batch_stats: batch statistics by path.
        left_out: paths of the parameters of the model that are drawn at random instead.
        other_arm: settings of an arm in which the weights' model is another, in words.
        sha256: digest of the values that are taken, whatever format they are stored in.
    """

    path: str
    parameters: Params
    batch_stats: Params
    left_out: tuple[str, ...]
    other_arm: str
    sha256: str

    def start(self, drawn: TrainState) -> TrainState:
        """The state of a run before its first step, from one whose values are all drawn."""
        parameters = drawn.parameters | self.parameters
        batch_stats = drawn.batch_stats | self.batch_stats
        values = parameters | batch_stats
        averages = {name: jnp.array(values[name]) for name in drawn.averages}
        return replace(drawn, parameters=parameters, batch_stats=batch_stats, averages=averages)


def read_initial_weights(
    configs: Sequence[Config], info: DatasetInfo, records: Sequence[Mapping[str, Any]]
) -> InitialWeights | None:
    """Reads the weights that the runs of a pack start from, and compares them with the record.

    Args:
        configs: configs of the runs, which have the setting in common.
        info: description of their data set.
        records: content of the `run.json` of each.

    Returns:
        The weights; None where random values are asked for, or where the weights are gone and the
        runs have begun: these go on from their checkpoints.

    Raises:
        InputError: the weights cannot be the runs', are not those that a run began with, or are
            others on another host.
    """
    path = configs[0].train.initial_weights
    if path is None:
        return None
    begun_with = [
        record.get(INITIAL_WEIGHTS) for record in records if record.get("status") not in ENDED
    ]

    def read() -> InitialWeights | None:
        if begun_with and all(begun_with) and not kind_of(_SETTING, Path(path)):
            return None
        weights = _read(path, configs, info)
        for digest in begun_with:
            if digest and digest != weights.sha256:
                unlike = _unlike(digest, weights.sha256)
                reason = f"is not what the run began with, says its run.json: {unlike}"
                raise InputError(_SETTING, path, reason)
        return weights

    weights = hosts.all_or_raise(read)
    digests = hosts.gather(None if weights is None else weights.sha256)
    known = {digest: number for number, digest in enumerate(digests) if digest}
    if len(known) > 1:
        (one, first), (other, second), *_ = known.items()
        reason = f"is not the same on processes {first} and {second}: {_unlike(one, other)}"
        raise InputError(_SETTING, path, reason)
    return weights


def _read(path: str, configs: Sequence[Config], info: DatasetInfo) -> InitialWeights:
    model = make_model(configs[0], info, activations_of(configs))
    try:
        parameters, batch_stats, left_out, other_arm = initial_from(path, model, info.class_names)
    except InputError as error:
        raise InputError(_SETTING, path, str(error)) from error
    sha256 = _digest(parameters | batch_stats)
    return InitialWeights(path, parameters, batch_stats, left_out, other_arm, sha256)


def _digest(values: Params) -> str:
    """SHA-256 of arrays with their paths and shapes.

    Files would not do: Orbax writes other ones each time that the same weights are converted.
    """
    digest = hashlib.sha256()
    for name, value in sorted(values.items()):
        array = np.ascontiguousarray(value, np.float32)
        digest.update(f"{name} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _unlike(one: object, other: str) -> str:
    return f"SHA-256 {str(one)[:12]} and {other[:12]} of the values"
