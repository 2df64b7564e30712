"""What all models share: their settings, and the head that makes logits of their last image."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from xception_jax import ops
from xception_jax.errors import InputError, require_choice
from xception_jax.models.blocks import BlockSpec
from xception_jax.models.layers import PADDING_STYLES, Dense, dropout, require_count
from xception_jax.models.pooling import pool_to_grid

SCANS = ("on", "off")


@dataclass(frozen=True)
class NetworkSpec:
    """How a model is built, but for the table of its modules.

    Attributes:
        block: how every separable convolution is built.
        num_classes: logits.
        in_channels: of the images.
        residual: keep the table's residual connections.
        separable: make the table's spatial convolutions separable, where it has regular ones.
        padding: of what has a stride, as in "same" (TensorFlow, Keras) or "torch".
        fully_connected: units of the ReLU layers before the classifier; None: the table's own.
        dropout_rate: before the classifier.
        scan_middle: whether the equal modules of a middle flow are a loop: "on", "off", or "auto".
        rematerialize: compute modules again in the backward pass.

    Raises:
        InputError: a value that does not exist, with the nearest one that does.
    """

    block: BlockSpec
    num_classes: int
    in_channels: int
    residual: bool
    separable: bool
    padding: str
    fully_connected: tuple[int, ...] | None
    dropout_rate: float
    scan_middle: str
    rematerialize: bool

    def __post_init__(self) -> None:
        require_count("model.num_classes", self.num_classes)
        require_count("model.in_channels", self.in_channels)
        require_choice("model.padding", self.padding, PADDING_STYLES)
        require_choice("model.scan_middle", self.scan_middle, ("auto", *SCANS))
        for units in self.fully_connected or ():
            require_count("model.fully_connected", units)
        if not 0 <= self.dropout_rate < 1:
            raise InputError("model.dropout", self.dropout_rate, "must be from 0 to below 1")


class Network(nnx.Module):
    """Images to logits: `features` of a model of its own, then the head that all share.

    A subclass builds its modules first, then calls this constructor with what they end in.

    Args:
        features: channels of the last image.
        spec: settings of the head.
        smallest_image: height and width of the smallest images it takes, pixels.
        fully_connected: units of the layers before the classifier where `spec` leaves them open.
        grid: the last image is averaged over grid x grid parts; 1: over all of it.
        rngs: for the initial values.
    """

    def __init__(
        self,
        features: int,
        spec: NetworkSpec,
        *,
        smallest_image: int,
        fully_connected: tuple[int, ...] = (),
        grid: int = 1,
        rngs: nnx.Rngs,
    ) -> None:
        self.in_channels, self.dropout_rate = spec.in_channels, spec.dropout_rate
        self.smallest_image, self.grid = smallest_image, grid
        if spec.fully_connected is not None:
            fully_connected = spec.fully_connected
        widths = (features * grid * grid, *fully_connected)
        dtype = spec.block.dtype
        self.fully_connected: nnx.List[Dense] = nnx.List(
            Dense(before, after, dtype=dtype, rngs=rngs) for before, after in pairwise(widths)
        )
        # Pooling and classifying take little time, and are worth at least float32's precision.
        self.head_dtype = jnp.promote_types(dtype, jnp.float32).name
        self.classifier = Dense(widths[-1], spec.num_classes, dtype=self.head_dtype, rngs=rngs)

    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        train: bool = False,
        *,
        dropout_keys: Key[Array, " batch"] | None = None,
        dropout_rate: Float[Array, ""] | None = None,
    ) -> Float[Array, "batch classes"]:
        """Logits, in float32 at least.

        Args:
            images: values about -1 to 1.
            train: normalize by the batch's statistics, and track them.
            dropout_keys: one key an example; without them, or in evaluation, nothing is dropped.
            dropout_rate: instead of the model's own.

        Raises:
            InputError: images smaller than the unpadded convolutions allow.
            ValueError: images of another rank or number of channels.
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
        """The image the last module makes, before pooling."""
        raise NotImplementedError


@runtime_checkable
class Table(Protocol):
    """An architecture as data: what the registry asks of one."""

    def resized(self, width: "Width", middle_modules: int | None) -> "Table":
        """Every number of features times `width`, and another number of middle modules."""

    def unused(self, separable: bool) -> frozenset[str]:
        """The settings of `create_model` that no part of the model reads."""

    def build(self, spec: NetworkSpec, *, rngs: nnx.Rngs) -> Network:
        """The model, with first values that do not count: see `functional.ModelFunction.init`."""


@dataclass(frozen=True)
class Width:
    """What every number of features of a table is multiplied by.

    Attributes:
        factor: 1: they stay as they are.
        multiple: others are rounded to multiples of it, so that segments still divide them.
    """

    factor: float
    multiple: int = 1

    def of(self, features: int) -> int:
        """`features` times the factor, at least one multiple."""
        if self.factor == 1:
            return features
        return max(1, round(features * self.factor / self.multiple)) * self.multiple


BLOCK_SETTINGS = frozenset(
    {
        "order",
        "intermediate_activation",
        "segments",
        "kernel_size",
        "intermediate_norm",
        "depthwise_implementation",
    }
)
