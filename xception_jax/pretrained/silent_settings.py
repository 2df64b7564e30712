"""Settings of a model that none of its arrays shows: weights fit, whatever their values.

With another value the same arrays compute something else, which has to be refused or said.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flax import nnx

from xception_jax.errors import InputError
from xception_jax.models.blocks import SeparableConv
from xception_jax.models.layers import BatchNorm, Conv, kernel_shape
from xception_jax.models.tower_network import PoolUnit
from xception_jax.models.towers import MaxPool
from xception_jax.models.xception import XceptionModule
from xception_jax.pretrained.files import TIMM, Source
from xception_jax.pretrained.keras_config import (
    AVERAGE_POOLS,
    CONVOLUTIONS,
    MAX_POOLS,
    Geometry,
    settings_of,
    windows_of,
)

SETTINGS_OF: dict[str, dict[str, Any]] = {
    TIMM: {"norm_epsilon": 1e-5, "norm_momentum": 0.9, "padding": "torch"}
}
"""Settings of the models that a source publishes, where they are not the defaults here.

timm's Xception differs from Keras's in having PyTorch's batch normalization and pool padding.
"""
# What a padding of strided layers is called in settings, see `padding_in_style`.
_STYLES = {"SAME": "same", "SYMMETRIC": "torch"}
# Those that must be the same, and those of arms: weights of one arm may start another.
_FIXED, _OF_ARMS = ("norm_epsilon", "padding"), ("order", "intermediate_activation")


def require_same_computation(source: Source, model: nnx.Module) -> dict[str, Any]:
    """Checks that a model computes what the model did whose weights a file holds.

    Where a file describes its model, the strides and the padding of its convolutions and pools are
    compared too, as a table of how many are of each kind.

    Args:
        source: the open file.
        model: the model that is to have the weights; its arrays may be abstract.

    Returns:
        The settings of the weights' model, as for `require_silent_settings`.

    Raises:
        InputError: the two differ without a trace in the shape of any array.
    """
    settings = settings_of_source(source)
    require_silent_settings(source.path, model, settings)
    if source.layers is not None:
        theirs, ours = windows_of(source.layers), _windows(model)
        for geometry in sorted((theirs | ours).keys(), key=str):
            if theirs[geometry] != ours[geometry]:
                reason = (
                    f"its model has {theirs[geometry]} {geometry}, and the model here has "
                    f"{ours[geometry]}: the same weights would compute something else"
                )
                raise InputError("weights", str(source.path), reason)
    return settings


def settings_of_source(source: Source) -> dict[str, Any]:
    """Settings of the model whose weights a file holds, by the names that `create_model` takes.

    Raises:
        InputError: the file describes a model unlike any here.
    """
    return SETTINGS_OF.get(source.kind, {}) | settings_of(source.path, source.layers)


def require_silent_settings(path: Path, model: nnx.Module, expected: Mapping[str, Any]) -> None:
    """Checks that a model normalizes and pools as the model did that weights in a file are of.

    Args:
        path: path of the weights, for messages.
        model: the model that is to have them; its arrays may be abstract.
        expected: settings of the weights' model, by the names that `create_model` takes.

    Raises:
        InputError: settings of the two models differ without a trace in the shape of any array.
    """
    if differing := _differing(model, expected, _FIXED):
        first = next(iter(differing))
        reason = (
            f"the weights in {path} belong to a model with "
            f"{_listed({name: expected[name] for name in differing})}, and would compute something "
            f"else in one with {_listed(differing)}"
        )
        raise InputError(f"model.{first}", differing[first], reason, expected[first])


def other_arm(model: nnx.Module, expected: Mapping[str, Any]) -> str:
    """The settings of the weights' model that an arm may change, and this model does, in words.

    Args:
        model: the model that is to have the weights.
        expected: settings of the weights' model, as for `require_silent_settings`.
    """
    differing = _differing(model, expected, _OF_ARMS)
    return _listed({name: expected[name] for name in differing})


def _differing(
    model: nnx.Module, expected: Mapping[str, Any], names: Iterable[str]
) -> dict[str, Any]:
    """The model's own values of those settings in which it, or a run of its pack, differs."""
    own = _used_by(model)
    others = {name: own[name] - {expected[name]} for name in names if name in expected}
    return {name: min(values) for name, values in others.items() if values}


def _used_by(model: nnx.Module) -> defaultdict[str, set[Any]]:
    """The values of silent settings that the modules of a model compute with.

    The config that a model was made from would be a part of its graph, and models that differ in
    nothing but their dropout or seed would share no compiled program.
    """
    used: defaultdict[str, set[Any]] = defaultdict(set)
    for _, module in nnx.iter_modules(model):
        if isinstance(module, BatchNorm):
            used["norm_epsilon"].add(module.config.epsilon)
        if isinstance(module, SeparableConv):
            used["order"].add(module.config.order)
            used["intermediate_activation"].update(module.config.activations)
        layer = getattr(module, "layer", module)
        strides, padding = getattr(layer, "strides", 1), getattr(layer, "padding", None)
        paddings = {getattr(module, "pool_padding", None), padding if strides > 1 else None}
        used["padding"] |= {name for pad_mode, name in _STYLES.items() if pad_mode in paddings}
    if len(used["padding"]) > 1:  # 1x1 shortcuts, to which it makes no difference, are the same
        used["padding"] = {"torch"}
    return used


def _windows(model: nnx.Module) -> Counter[Geometry]:
    """How often each geometry occurs among the convolutions and pools of a model."""
    found: Counter[Geometry] = Counter()

    def count(operation: str, window: tuple[int, int], strides: int, padding: str) -> None:
        found[Geometry.of(operation, window, (strides, strides), padding)] += 1

    for _, module in nnx.iter_modules(model):
        if isinstance(module, SeparableConv):
            window = kernel_shape(module.config.kernel_size)
            count(CONVOLUTIONS, window, module.strides, module.padding)
        elif isinstance(module, Conv):
            window = module.kernel.shape[0], module.kernel.shape[1]
            count(CONVOLUTIONS, window, module.strides, module.padding)
        elif isinstance(module, XceptionModule) and module.stage.pool:
            count(MAX_POOLS, (3, 3), 2, module.pool_padding)
        elif isinstance(module, PoolUnit) and isinstance(module.layer, MaxPool):
            count(MAX_POOLS, (3, 3), module.layer.strides, module.layer.padding)
        elif isinstance(module, PoolUnit):
            count(AVERAGE_POOLS, (3, 3), 1, "SAME")
    return found


def _listed(settings: Mapping[str, Any]) -> str:
    return " and ".join(f"{name}={value!r}" for name, value in settings.items())
