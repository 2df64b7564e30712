"""The settings of a model: the only definition of their types, defaults, ranges and help texts.

A new setting of the block is a field of `BlockConfig` and its use in `models/blocks.py`.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal

from xception_jax.config.fields import Checked, group, setting
from xception_jax.errors import InputError

Order = Literal["depthwise_first", "pointwise_first"]
Segments = int | Literal["per_channel"]
PaddingStyle = Literal["same", "torch"]
KernelSize = int | tuple[int, int]


def _kernel_size(name: str, value: Any) -> KernelSize:
    sides = value if isinstance(value, (list, tuple)) else (value,)
    if len(sides) not in (1, 2):
        raise InputError(name, value, "must be an integer, or (height, width)")
    for side in sides:
        is_number = isinstance(side, Real) and not isinstance(side, bool)
        if not is_number or side != side // 1:
            raise InputError(name, side, "must be an integer")
        if not 1 <= side <= 31:
            raise InputError(name, side, "must be an integer from 1 to 31", 1 if side < 1 else 31)
        if side % 2 == 0:
            raise InputError(name, side, "must be odd", int(side) - 1)
    height, *width = (int(side) for side in sides)
    return (height, *width) if width else height  # type: ignore[return-value]


@dataclass(frozen=True)
class NormConfig(Checked):
    """The settings of batch normalization.

    Attributes:
        axis_name: mesh axis over which the statistics are reduced; the training step sets it.
        scale: whether a trained parameter multiplies the output; it is redundant where a ReLU and a
            linear map follow.
    """

    PREFIX: ClassVar[str] = "model.norm_"

    momentum: float = setting(
        0.99,
        "momentum of batch normalization's moving statistics, which are evaluated only where "
        "train.average_decay is 0; 0.99 lags for some hundred steps",
        low=0,
        high=0.99999,
    )
    epsilon: float = setting(1e-3, "added to batch normalization's variance", low=1e-8, high=1)
    group_size: int | None = setting(
        None,
        "consecutive images of a batch that are normalized together; null: the whole batch, or "
        "each of the parts that train.accumulation_steps makes of it",
        low=2,
    )
    axis_name: str | None = None
    scale: bool = True


@dataclass(frozen=True)
class BlockConfig(Checked):
    """The settings of the block under study: a spatial and a pointwise convolution.

    Attributes:
        norm: settings of every batch normalization of the model.
        activation_choices: the intermediate activations of a pack, of which each run selects one by
            its index; empty: `intermediate_activation` alone.
    """

    PREFIX: ClassVar[str] = "model."

    order: Order = setting("depthwise_first", "order of a block's two operations")
    intermediate_activation: str = setting(
        "none",
        "activation between a block's two operations: none, relu, elu, or another of jax.nn that "
        "acts on each number alone (paper figure 10)",
        in_pack="free",
    )
    segments: Segments = setting(
        "per_channel", "number of independent channel groups of the spatial convolution", low=1
    )
    kernel_size: KernelSize = setting(
        3, "size of the spatial convolution, pixels, odd, from 1 to 31", check=_kernel_size
    )
    intermediate_norm: bool = setting(False, "batch normalization between a block's two operations")
    squeeze_excite_ratio: int = setting(
        0,
        "channels between a block's two operations per hidden unit of the squeeze-and-excitation "
        "that scales them (Hu et al. 2018); 0: none",
        low=0,
        high=1024,
    )
    depthwise_implementation: str = setting(
        "auto", "a name in `xception_jax.ops.DEPTHWISE_IMPLEMENTATIONS`, or auto"
    )
    dtype: Literal["float32", "bfloat16", "float64"] = setting(
        "float32", "type of the computation; parameters stay float32"
    )
    norm: NormConfig = group(NormConfig)
    activation_choices: tuple[str, ...] = ()

    @property
    def activations(self) -> tuple[str, ...]:
        """The intermediate activation, or those from which each run of a pack selects one."""
        return self.activation_choices or (self.intermediate_activation,)

    def spatial_channels(self, in_features: int, out_features: int) -> int:
        """The number of channels that the spatial convolution of a block works on."""
        return in_features if self.order == "depthwise_first" else out_features


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The settings of a model: an architecture by name, and its variations.

    Attributes:
        block: settings of every block.
        num_classes: number of logits; in a run the data set determines it.
        in_channels: channels of the images; in a run the data set determines it.
    """

    PREFIX: ClassVar[str] = "model."

    name: str = setting("xception", "architecture: see `xception_jax.models.list_models()`")
    block: BlockConfig = group(BlockConfig)
    residual: bool = setting(True, "residual connections (paper figure 9)")
    width: float = setting(1.0, "factor of every number of features", low=0.01, high=16)
    middle_modules: int | None = setting(
        None, "modules in the middle flow; null: the architecture's own number", low=0, high=256
    )
    separable: bool = setting(
        False, "separable convolutions in place of regular ones (Inception, AlexNet)"
    )
    padding: PaddingStyle = setting(
        "same",
        "padding of strided convolutions and pools: as TensorFlow and Keras pad, or as PyTorch",
    )
    fully_connected: tuple[int, ...] | None = setting(
        None,
        "units of the ReLU layers before the classifier (paper figure 8); null: the architecture's",
        low=1,
        high=2**20,
    )
    dropout: float = setting(
        0.0, "dropout rate before the classifier", low=0, high=0.99, in_pack="free_above_zero"
    )
    rematerialize: bool = setting(
        False,
        "compute modules again in the backward pass, instead of keeping their activations",
        identity=False,
    )
    num_classes: int = 1000
    in_channels: int = 3
