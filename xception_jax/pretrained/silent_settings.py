"""Settings of a model that none of its arrays shows: weights fit, whatever their values.

With another value the same arrays compute something else, which has to be refused or said.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flax import nnx

from xception_jax.errors import InputError
from xception_jax.models.blocks import SeparableConv
from xception_jax.models.layers import BatchNorm
from xception_jax.pretrained.files import TIMM

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
        used["padding"] |= {name for of, name in _STYLES.items() if of in paddings}
    if len(used["padding"]) > 1:  # 1x1 shortcuts, to which it makes no difference, are the same
        used["padding"] = {"torch"}
    return used


def _listed(settings: Mapping[str, Any]) -> str:
    return " and ".join(f"{name}={value!r}" for name, value in settings.items())
