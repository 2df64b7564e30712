"""Models by name: a registry of all families, and functions that build any of them."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

from flax import nnx

from xception_jax.config.keywords import from_keywords, keywords, takes_settings
from xception_jax.config.model import ModelConfig
from xception_jax.errors import require_choice
from xception_jax.models.alexnet import ALEXNETS
from xception_jax.models.blocks import require_block
from xception_jax.models.functional import ModelFunction, functionalize
from xception_jax.models.inception import INCEPTIONS
from xception_jax.models.layers import AbstractRngs, require_count
from xception_jax.models.network import Network, Width
from xception_jax.models.separable_vgg import SEPARABLE_VGGS
from xception_jax.models.tower_network import InceptionNetwork
from xception_jax.models.towers import InceptionSpec
from xception_jax.models.xception import XCEPTIONS, Xception, XceptionSpec

MODELS: dict[str, XceptionSpec | InceptionSpec] = {
    **XCEPTIONS,
    **SEPARABLE_VGGS,
    **INCEPTIONS,
    **ALEXNETS,
}


def list_models() -> list[str]:
    """The names of all models, sorted, as `create_model` takes them."""
    return sorted(MODELS)


@takes_settings(ModelConfig)
def model_config(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.5,
    axis_name: str | None = None,
    activation_choices: tuple[str, ...] = (),
    **settings: Any,
) -> ModelConfig:
    """The config of a model outside a run, with the paper's dropout.

    Args:
        name: name of the model, one of `list_models()`.
        num_classes: number of logits.
        in_channels: channels of the images.
        dropout: dropout rate before the classifier, in training where the call is given keys.
        axis_name: mesh axis over which batch normalization is reduced; None: none.
        activation_choices: see `BlockConfig`.
        **settings: fields of `ModelConfig`, `BlockConfig` and `NormConfig` by the names that they
            have after `model.`: `order`, `segments`, `norm_momentum`, …

    Raises:
        InputError: a value is not valid.
        TypeError: a setting does not exist.
    """
    given = {"name": name, "dropout": dropout, **settings}
    config: ModelConfig = from_keywords(ModelConfig, given, create_model)
    norm = replace(config.block.norm, axis_name=axis_name)
    block = replace(config.block, norm=norm, activation_choices=activation_choices)
    return replace(
        config,
        block=block,
        num_classes=require_count("model.num_classes", num_classes),
        in_channels=require_count("model.in_channels", in_channels),
    )


@takes_settings(model_config)
def create_model(name: str, *, rngs: nnx.Rngs | None = None, **settings: Any) -> Network:
    """A model with its initial values: `model(images, train=bool)` gives logits.

    Each initial value is a function of `rngs` and of the parameter's path and shape, so that two
    models made from the same seed agree wherever they share a parameter. Settings that a model does
    not use are accepted and change nothing; `unused_settings` names them.

    Args:
        name: name of the model, one of `list_models()`.
        rngs: key of the initial values; None: seed 0.
        **settings: see `model_config`.

    Raises:
        InputError: a name or value does not exist; the error names the nearest one that does.
        TypeError: a setting does not exist.
    """
    function = model_function(name, **settings)
    key = (nnx.Rngs(0) if rngs is None else rngs).params()
    model: Network = function.bind(*function.init(key))
    return model


def model_function(name: str, **settings: Any) -> ModelFunction:
    """The model of `create_model(name, **settings)` as a pure function; nothing is compiled."""
    return model_from_config(model_config(name, **settings))


@lru_cache(maxsize=64)
def model_from_config(config: ModelConfig) -> ModelFunction:
    """The model that a config describes, as a pure function; nothing is computed or compiled.

    Raises:
        InputError: a name or value does not exist; the error names the nearest one that does.
    """
    require_choice("model.name", config.name, list_models())
    require_block(config.block)
    require_count("model.num_classes", config.num_classes)
    require_count("model.in_channels", config.in_channels)
    table = resized_table(config)
    return functionalize(nnx.eval_shape(lambda: _build(table, config)))[0]


def resized_table(config: ModelConfig) -> XceptionSpec | InceptionSpec:
    """The table of a config's model, at the config's width and number of middle modules."""
    segments = config.block.segments
    width = Width(config.width, segments if isinstance(segments, int) else 1)
    return MODELS[config.name].resized(width, config.middle_modules)


def _build(table: XceptionSpec | InceptionSpec, config: ModelConfig) -> Network:
    if isinstance(table, XceptionSpec):
        return Xception(table, config, rngs=AbstractRngs())
    return InceptionNetwork(table, config, rngs=AbstractRngs())


def unused_settings(config: ModelConfig) -> list[str]:
    """The settings that change nothing for the model of this config, whatever their value.

    They have the names by which `create_model` takes them.

    Raises:
        InputError: the model or a value does not exist.
    """
    require_choice("model.name", config.name, list_models())
    unused = MODELS[config.name].unused(config.separable)
    if config.width != 1:  # numbers of features are then multiples of that of the segments
        unused -= {"segments"}
    if isinstance(config.block.segments, int):
        parameters = model_from_config(config).parameters
        kernels = [leaf.shape for leaf in parameters if leaf.keys[-1] == "spatial_kernel"]
        if all(shape[-2] > 1 for shape in kernels):  # no depthwise convolution
            unused |= {"depthwise_implementation"}
    return [name for name in keywords(ModelConfig) if name in unused]
