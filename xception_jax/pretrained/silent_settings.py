"""Settings of a model that none of its arrays shows: weights fit, whatever their values.

With another value the same arrays compute something else, which has to be refused or said.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from flax import nnx

from xception_jax.config.keywords import keywords
from xception_jax.config.model import ModelConfig
from xception_jax.errors import InputError
from xception_jax.models import unused_settings
from xception_jax.pretrained.files import TIMM

SETTINGS_OF: dict[str, dict[str, Any]] = {
    TIMM: {"norm_epsilon": 1e-5, "norm_momentum": 0.9, "padding": "torch"}
}
"""Settings of the models that a source publishes, where they are not the defaults here.

timm's Xception differs from Keras's in having PyTorch's batch normalization and pool padding.
"""
# Neither has what changes the cost, the precision or the training alone, nor what changes the shape
# of an array in every model. The latter are what arms are about: weights of one may start another.
_FIXED, _OF_ARMS = ("norm_epsilon", "padding"), ("order", "intermediate_activation", "residual")


def require_silent_settings(path: Path, model: nnx.Module, expected: Mapping[str, Any]) -> None:
    """Checks that a model normalizes and pools as the model did that weights in a file are of.

    Args:
        path: path of the weights, for messages.
        model: the model that is to have them; one without a `ModelConfig` passes.
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
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig):
        return {}
    unused = unused_settings(config)
    values = {name: _values(config, name) for name in names if name in expected}
    others = {
        name: [value for value in own if value != expected[name]]
        for name, own in values.items()
        if name not in unused
    }
    return {name: differing[0] for name, differing in others.items() if differing}


def _values(config: ModelConfig, name: str) -> tuple[Any, ...]:
    """The value of a setting, or that of each run of a pack."""
    if name == "intermediate_activation":
        return config.block.activations
    return (reduce(getattr, keywords(ModelConfig)[name].path, config),)


def _listed(settings: Mapping[str, Any]) -> str:
    return " and ".join(f"{name}={value!r}" for name, value in settings.items())
