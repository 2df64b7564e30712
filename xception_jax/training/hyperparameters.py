"""What runs may differ in and still share a compiled program: numbers it takes at run time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from xception_jax.config import flatten

# Fields of the config; of those in the second line also whether they are above zero decides.
_FREE = ("seed", "model.intermediate_activation", "optimizer.learning_rate")
_FREE_ABOVE_ZERO = ("optimizer.weight_decay", "model.dropout")


@no_type_check  # at run time: JAX also makes it of shapes, shardings and None
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hyperparameters:
    """Of one run, or of those of a pack with a leading axis.

    Attributes:
        seed: of augmentation and dropout; that of initial values and order has been used already.
        learning_rate: the highest one of the schedule.
        weight_decay: L2.
        dropout: rate.
        activation: the number of the intermediate activation among the program's.
    """

    seed: Int[Array, "*slots"]
    learning_rate: Float[Array, "*slots"]
    weight_decay: Float[Array, "*slots"]
    dropout: Float[Array, "*slots"]
    activation: Int[Array, "*slots"]


def hyperparameters(config: ConfigDict, activations: Sequence[str]) -> Hyperparameters:
    """A run's own.

    Args:
        config: of the run.
        activations: the intermediate activations of its program.
    """
    return Hyperparameters(
        seed=jnp.int32(config.seed),
        learning_rate=jnp.float32(_learning_rate(config)),
        weight_decay=jnp.float32(config.optimizer.weight_decay),
        dropout=jnp.float32(config.model.dropout),
        activation=jnp.int32(activations.index(config.model.intermediate_activation)),
    )


def _learning_rate(config: ConfigDict) -> float:
    """Scaled linearly with the batch, where the config says for which it is stated."""
    reference = config.optimizer.reference_batch_size or config.train.batch_size
    return float(config.optimizer.learning_rate * (config.train.batch_size / reference))


def shared_settings(config: ConfigDict) -> dict[str, object]:
    """What two runs must have in common to train in one program, by the config's dotted names."""
    flat = flatten(config)
    kept = {name: value for name, value in flat.items() if not name.startswith("wandb.")}
    for name in _FREE:
        del kept[name]
    for name in _FREE_ABOVE_ZERO:
        kept[name] = flat[name] > 0
    return kept
