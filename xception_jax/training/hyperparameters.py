"""What runs may differ in and still share a compiled program: numbers that it takes at run time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xception_jax.config import Config


@no_type_check  # at run time: JAX also makes it of shapes, shardings and None
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of one run, or of the runs of a pack with a leading axis.

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
