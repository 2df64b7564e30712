"""Parts of all models: the head, from the last feature map to logits, and the width."""

from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from xception_jax import ops
from xception_jax.config.model import ModelConfig
from xception_jax.errors import InputError
from xception_jax.models.layers import Dense, dropout
from xception_jax.models.pooling import pool_to_grid


class Network(nnx.Module):
    """A model from images to logits: `features`, which each subclass defines, then the head.

    A subclass builds its modules first, then calls this constructor.

    Args:
        features: channels of the last feature map.
        config: config of the model.
        smallest_image: height and width of the smallest images that the model takes, pixels.
        fully_connected: units of the layers before the classifier where `config` leaves them open.
        grid: the last feature map is averaged over grid x grid parts; 1: over all of it.
        rngs: keys of the initial values.
    """

    def __init__(
        self,
        features: int,
        config: ModelConfig,
        *,
        smallest_image: int,
        fully_connected: tuple[int, ...] = (),
        grid: int = 1,
        rngs: nnx.Rngs,
    ) -> None:
        self.in_channels, self.dropout_rate = config.in_channels, config.dropout
        self.smallest_image, self.grid = smallest_image, grid
        if config.fully_connected is not None:
            fully_connected = config.fully_connected
        widths = (features * grid * grid, *fully_connected)
        dtype = config.block.dtype
        self.fully_connected: nnx.List[Dense] = nnx.List(
            Dense(before, after, dtype=dtype, rngs=rngs) for before, after in pairwise(widths)
        )
        # Pooling and classifying take little time, and are worth at least float32's precision.
        self.head_dtype = jnp.promote_types(dtype, jnp.float32).name
        self.classifier = Dense(widths[-1], config.num_classes, dtype=self.head_dtype, rngs=rngs)

    def __call__(
        self,
        images: Float[Array | np.ndarray, "batch height width channels"],
        train: bool = False,
        *,
        dropout_keys: Key[Array, " batch"] | None = None,
        dropout_rate: Float[Array, ""] | None = None,
    ) -> Float[Array, "batch classes"]:
        """Logits, in float32 at least.

        Args:
            images: images [batch, height, width, channels], values about -1 to 1.
            train: whether to normalize by the batch's statistics, and to track them.
            dropout_keys: a key for each example; without, or in evaluation, nothing is dropped.
            dropout_rate: dropout rate in place of the model's own.

        Raises:
            InputError: the images are smaller than the unpadded convolutions allow.
            ValueError: the images have another rank or number of channels.
        """
        x = ops.require_images("images", images)
        if x.shape[-1] != self.in_channels:
            raise ValueError(f"images must have {self.in_channels} channels; got shape {x.shape}")
        size, smallest = min(x.shape[1:3]), self.smallest_image
        if size < smallest:
            raise InputError("data.image_size", size, "too small for this model", smallest)
        x = pool_to_grid(self.features(x, train).astype(self.head_dtype), self.grid)
        for layer in self.fully_connected:
            x = jax.nn.relu(layer(x))
        rate = self.dropout_rate if dropout_rate is None else dropout_rate
        x = dropout(x, rate, dropout_keys if train else None)
        return self.classifier(x)

    def features(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 f"]:
        """The last feature map, before pooling."""
        raise NotImplementedError


@dataclass(frozen=True)
class Width:
    """The width of a model: a factor of every number of features in its table.

    Attributes:
        factor: the factor; 1: the table's numbers.
        multiple: scaled numbers are rounded to multiples of this, so that segments divide them.
    """

    factor: float
    multiple: int = 1

    def of(self, features: int) -> int:
        """`features` times the factor, at least one multiple."""
        if self.factor == 1:
            return features
        return max(1, round(features * self.factor / self.multiple)) * self.multiple
