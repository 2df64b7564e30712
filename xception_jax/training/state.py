"""The arrays of a run: what it carries from step to step, and what varies within a pack."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import no_type_check

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from xception_jax.config import Config
from xception_jax.models.functional import Params

Sums = dict[str, Array | np.ndarray]


@no_type_check  # at run time: JAX also makes it of shapes, shardings and None
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """The arrays that a run carries from step to step; a checkpoint holds all of them.

    Attributes:
        step: number of optimizer steps taken.
        parameters: trainable parameters, by path.
        batch_stats: batch normalization's moving means and variances, by path.
        averages: Polyak averages of the parameters and of each batch's statistics, by path, used in
            evaluation; empty if none are kept.
        optimizer: Optax's state.
        sums: metrics added up since the last row of the log.
    """

    step: Int[Array, "*slots"]
    parameters: Params
    batch_stats: Params
    averages: Params
    optimizer: optax.OptState
    sums: Sums

    def evaluated(self) -> tuple[Params, Params]:
        """The parameters and batch statistics that evaluation uses: the averages if there are."""
        if not self.averages:
            return self.parameters, self.batch_stats
        parameters, batch_stats = (
            {path: self.averages[path] for path in part}
            for part in (self.parameters, self.batch_stats)
        )
        return parameters, batch_stats


@no_type_check  # at run time, as above
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hyperparameters:
    """The settings in which runs of one program may differ: arguments of the program.

    The arrays are those of one run, or have a leading axis over the slots of a pack.

    Attributes:
        seed: seed of augmentation and dropout; initial values and data order have been drawn.
        learning_rate: the highest one of the schedule.
        weight_decay: weight decay of the kernels.
        dropout: dropout rate before the classifier.
        activation_index: index of the intermediate activation among those of the program.
    """

    seed: Int[Array, "*slots"]
    learning_rate: Float[Array, "*slots"]
    weight_decay: Float[Array, "*slots"]
    dropout: Float[Array, "*slots"]
    activation_index: Int[Array, "*slots"]


def hyperparameters(config: Config, activations: Sequence[str] | None = None) -> Hyperparameters:
    """The hyperparameters of a run.

    Args:
        config: config of the run.
        activations: the intermediate activations of its pack; None: the run's own.
    """
    optimizer, train = config.optimizer, config.train
    # Scaled linearly with the batch, where the config says for which one the rate is stated.
    scale = train.batch_size / (optimizer.reference_batch_size or train.batch_size)
    activation = config.model.block.intermediate_activation
    return Hyperparameters(
        seed=jnp.int32(config.seed),
        learning_rate=jnp.float32(optimizer.learning_rate * scale),
        weight_decay=jnp.float32(optimizer.weight_decay),
        dropout=jnp.float32(config.model.dropout),
        activation_index=jnp.int32((activations or (activation,)).index(activation)),
    )


def zero_sums() -> Sums:
    """The sums of metrics before any step, as NumPy arrays."""
    return {name: np.zeros((), np.float32) for name in ("examples", "loss", "top1", "top5")}


def polyak(averages: Params, values: Params, step: Int[Array, ""], decay: float) -> Params:
    """The Polyak averages after one more step, which gave `values`.

    The decay is the smaller of `decay` and (1 + step) / (10 + step), the usual warm-up, so that
    short runs do not evaluate their initial values.
    """
    warm: Float[Array, ""] = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return {path: warm * averages[path] + (1 - warm) * values[path] for path in averages}
