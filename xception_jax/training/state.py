"""What a run carries from step to step; a checkpoint holds all of it."""

from dataclasses import dataclass
from typing import no_type_check

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from xception_jax.models.functional import Params

Sums = dict[str, Array | np.ndarray]


@no_type_check  # at run time: JAX also makes it of shapes, shardings and None
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Plain arrays only.

    Attributes:
        step: optimizer steps taken.
        parameters: trainable, by path.
        batch_stats: batch normalization's moving means and variances, by path.
        averages: Polyak averages of the parameters, used in evaluation; empty if none are kept.
        optimizer: Optax's state.
        sums: metrics added up since the last row of the log.
    """

    step: Int[Array, "*slots"]
    parameters: Params
    batch_stats: Params
    averages: Params
    optimizer: optax.OptState
    sums: Sums


def zero_sums() -> Sums:
    """The sums of metrics before any step, as NumPy arrays."""
    return {name: np.zeros((), np.float32) for name in ("examples", "loss", "top1", "top5")}


def polyak(averages: Params, parameters: Params, step: Int[Array, ""], decay: float) -> Params:
    """Averages after one more step.

    The decay is the smaller of `decay` and (1 + step) / (10 + step), the usual warm-up, so that
    short runs do not evaluate their initial values.
    """
    warm: Float[Array, ""] = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return {path: warm * averages[path] + (1 - warm) * parameters[path] for path in averages}
