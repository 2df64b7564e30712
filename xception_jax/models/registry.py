"""Models by name: one registry of all families, and one documented signature for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import signature
from math import isfinite
from typing import Any

from flax import nnx

from xception_jax.errors import InputError, require_choice
from xception_jax.models.alexnet import ALEXNETS
from xception_jax.models.blocks import BlockSpec, Segments
from xception_jax.models.functional import ModelFunction, functionalize
from xception_jax.models.inception import INCEPTIONS
from xception_jax.models.layers import AbstractRngs, NormSpec
from xception_jax.models.network import Network, NetworkSpec, Table, Width
from xception_jax.models.separable_vgg import SEPARABLE_VGGS
from xception_jax.models.xception import XCEPTIONS

MODELS: dict[str, Table] = {**XCEPTIONS, **SEPARABLE_VGGS, **INCEPTIONS, **ALEXNETS}


def list_models() -> list[str]:
    """The names `create_model` knows."""
    return sorted(MODELS)


def unused_settings(name: str, **settings: Any) -> list[str]:
    """Those of `settings` that change nothing for the model `name`, whatever their value.

    Args:
        name: see `list_models`.
        settings: of `create_model`; `separable` among them decides about those of the blocks.

    Raises:
        InputError: a name that does not exist.
    """
    require_choice("model.name", name, list_models())
    unused = MODELS[name].unused(bool(settings.get("separable", False)))
    if isinstance(settings.get("segments"), int):
        parameters = model_function(name, **settings).parameters
        kernels = [leaf.shape for leaf in parameters if leaf.keys[-1] == "spatial_kernel"]
        if all(shape[-2] > 1 for shape in kernels):  # no depthwise convolution
            unused |= {"depthwise_implementation"}
    return [setting for setting in settings if setting in unused]


def create_model(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    order: str = "depthwise_first",
    intermediate_activation: str | tuple[str, ...] = "none",
    segments: Segments = "per_channel",
    kernel_size: int = 3,
    intermediate_norm: bool = False,
    residual: bool = True,
    width: float = 1.0,
    middle_modules: int | None = None,
    separable: bool = False,
    padding: str = "same",
    fully_connected: Sequence[int] | None = None,
    dropout: float = 0.5,
    dtype: str = "float32",
    depthwise_implementation: str = "auto",
    matmul_dtype: str | None = None,
    scan_middle: str = "auto",
    rematerialize: bool = False,
    norm_momentum: float = 0.99,
    norm_epsilon: float = 1e-3,
    norm_group_size: int | None = None,
    axis_name: str | None = None,
    rngs: nnx.Rngs | None = None,
) -> Network:
    """A model with its initial values.

    Each initial value is a function of `rngs` and of the parameter's path and shape, so that two
    models made from the same seed agree wherever they share a parameter. Settings that a model does
    not read are taken and change nothing; `unused_settings` names them.

    | settings | read by |
    |---|---|
    | order, intermediate_activation, segments, intermediate_norm, depthwise_implementation | the \
Xception and VGG families; Inception and AlexNet if `separable` |
    | kernel_size | Xception, VGG (the others' tables have sizes of their own) |
    | residual | Xception |
    | middle_modules, scan_middle, rematerialize | Xception, VGG |
    | separable | Inception, AlexNet |
    | padding | all but "inception_v3", where nothing that has a stride is padded |

    Args:
        name: see `list_models`.
        num_classes: logits.
        in_channels: of the images.
        order: of the two operations of every separable convolution, "depthwise_first" or
            "pointwise_first" (paper section 1.2).
        intermediate_activation: between them; "none", "relu", "elu", or another activation of
            `jax.nn` (paper figure 10). Several: one of them, picked at run time.
        segments: independent channel groups of the spatial convolutions; "per_channel", or a
            number that divides the channels of each.
        kernel_size: of the separable convolutions, pixels; odd.
        intermediate_norm: batch normalization between the two operations.
        residual: residual connections (paper figure 9).
        width: multiplies every number of features; the products are rounded, to multiples of
            `segments` where that is a number.
        middle_modules: modules in the middle flow; None: the model's own (8 for "xception").
        separable: replace regular spatial convolutions by separable ones: all those of Inception's
            modules, and all but the first of AlexNet.
        padding: of convolutions and pools with a stride, "same" (as in TensorFlow and Keras) or
            "torch" (with `norm_epsilon=1e-5`: the layout of timm's `legacy_xception`).
        fully_connected: units of the ReLU layers before the classifier (paper figure 8); None: the
            model's own (two for AlexNet, else none).
        dropout: rate before the classifier, in training where the call is given keys.
        dtype: of the computation, "float32", "bfloat16" or "float64"; parameters and statistics are
            drawn in float32.
        depthwise_implementation: a name in `ops.DEPTHWISE_IMPLEMENTATIONS`, or "auto".
        matmul_dtype: "bfloat16": the factors of the convolutions that are matrix products are
            rounded to it, while sums and all else stay in `dtype`; None: they stay as well.
        scan_middle: whether the equal modules of the middle flow are compiled once, as a loop;
            "on", "off", or "auto": by backend.
        rematerialize: whether modules are computed again in the backward pass, instead of keeping
            what is inside of them: less memory, more time.
        norm_momentum: of the moving statistics of batch normalization.
        norm_epsilon: of batch normalization.
        norm_group_size: consecutive rows of a batch that it normalizes together; None: all.
        axis_name: mesh axis over which batch normalization is reduced; None: none.
        rngs: None: seed 0.

    Raises:
        InputError: a name or value that does not exist, with the nearest one that does.
    """
    settings = {setting: value for setting, value in locals().items() if setting != "rngs"}
    function = _function(settings)
    key = (nnx.Rngs(0) if rngs is None else rngs).params()
    model: Network = function.bind(*function.init(key))
    return model


def model_function(name: str, **settings: Any) -> ModelFunction:
    """`create_model(name, **settings)` without its values: nothing is computed or compiled."""
    given = signature(create_model).bind(name, **settings)
    given.apply_defaults()
    return _function(given.arguments)


def _function(settings: Mapping[str, Any]) -> ModelFunction:
    """The model of all settings of `create_model`."""
    require_choice("model.name", settings["name"], list_models())
    width, segments = settings["width"], settings["segments"]
    if not (isfinite(width) and width > 0):
        raise InputError("model.width", width, "must be above 0", 1.0)
    of_norm = ("norm_momentum", "norm_epsilon", "axis_name", "norm_group_size")
    norm = NormSpec(*(settings[setting] for setting in of_norm))
    of_block = (field.name for field in fields(BlockSpec) if field.name != "norm")
    block = BlockSpec(norm=norm, **{setting: settings[setting] for setting in of_block})
    units = settings["fully_connected"]
    spec = NetworkSpec(
        block,
        settings["num_classes"],
        settings["in_channels"],
        settings["residual"],
        settings["separable"],
        settings["padding"],
        None if units is None else tuple(units),
        settings["dropout"],
        settings["scan_middle"],
        settings["rematerialize"],
    )
    multiple = segments if isinstance(segments, int) else 1
    table = MODELS[settings["name"]].resized(Width(width, multiple), settings["middle_modules"])
    return functionalize(nnx.eval_shape(lambda: table.build(spec, rngs=AbstractRngs())))[0]
