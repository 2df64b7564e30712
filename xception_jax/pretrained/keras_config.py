"""Reads from a whole Keras model's configuration what its weights alone do not tell.

A model may scale its images itself, by layers before the first convolution, and its head may end in
a sigmoid for each class instead of a softmax over all. Without these, the same weights would be fed
numbers of another range, and would predict something else without a word.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from xception_jax.errors import InputError
from xception_jax.json_values import as_real, as_text, as_whole
from xception_jax.pretrained.keras_layers import KerasLayers
from xception_jax.pretrained.preprocessing import Preprocessing

SOFTMAX, SIGMOID = "softmax", "sigmoid"
PROBABILITIES = (SOFTMAX, SIGMOID)
"""Functions that make probabilities of logits."""
_CHANNELS = 3  # of every image that a converted model takes
_NO_HEAD = "; without the classifier it can be converted: --no-head"
_INACTIVE = ("InputLayer", "Dropout", "SpatialDropout2D", "GaussianNoise", "Identity")
"""Layers that do nothing in evaluation; so do those whose names begin with `Random`."""
_KNOWN = (
    "Activation",
    "Add",
    "AveragePooling2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Flatten",
    "GlobalAveragePooling2D",
    "MaxPooling2D",
    "ReLU",
    "SeparableConv2D",
    "Softmax",
    "ZeroPadding2D",
)
"""Layers of the architectures whose weights are read; that they fit is checked by their arrays."""
_AFTER_HEAD = ("Activation", "ReLU", "Softmax")
"""Layers that may follow the head; `probabilities_of_head` says which of them are read."""
_OF_BODY = ("linear", "relu")
"""Activations of these architectures before their heads."""
CONVOLUTIONS, MAX_POOLS, AVERAGE_POOLS = "convolutions", "max-pools", "average pools"
"""Operations on windows, as messages name them."""
_ON_WINDOWS = {
    "Conv2D": CONVOLUTIONS,
    "DepthwiseConv2D": CONVOLUTIONS,
    "SeparableConv2D": CONVOLUTIONS,
    "MaxPooling2D": MAX_POOLS,
    "AveragePooling2D": AVERAGE_POOLS,
}

Sides = tuple[int | None, int | None]


class Geometry(NamedTuple):
    """Where the windows of an operation lie; of a convolution, its kernel tells no more than size.

    Attributes:
        operation: one of `CONVOLUTIONS`, `MAX_POOLS` and `AVERAGE_POOLS`.
        window: height and width of the windows.
        strides: their distance in each direction.
        padding: "SAME", "VALID" or "SYMMETRIC".
    """

    operation: str
    window: Sides
    strides: Sides
    padding: str

    @classmethod
    def of(cls, operation: str, window: Sides, strides: Sides, padding: str) -> Self:
        """The geometry; windows of one pixel are not padded, whatever is asked for."""
        return cls(operation, window, strides, "VALID" if window == (1, 1) else padding)

    def __str__(self) -> str:
        height, width = self.window
        down, right = self.strides
        stride = down if down == right else f"{down}x{right}"
        return f"{self.operation} {height}x{width} with stride {stride}, {self.padding.lower()}"


def with_own_preprocessing(
    path: Path, layers: KerasLayers | None, expected: Preprocessing
) -> Preprocessing:
    """The preparation of images for a model that may do a part of it itself.

    Args:
        path: path of the model's file, for messages.
        layers: the layers of the model; None where the file does not describe them.
        expected: the preparation for a model that does nothing itself.

    Returns:
        `expected`; or, of a model that scales its images, the same of pixels from 0 to 255 with
        the model's own scaling.

    Raises:
        InputError: a layer is not understood.
    """
    if layers is None:
        return expected
    scale, offset = [1.0] * _CHANNELS, [0.0] * _CHANNELS
    scales_itself = False
    for kind, settings in _before_architecture(path, layers):
        name = as_text(settings.get("name")) or kind
        factor, shift = _affine(path, kind, name, settings)
        scale = [a * f for a, f in zip(scale, factor, strict=True)]
        offset = [b * f + s for b, f, s in zip(offset, factor, shift, strict=True)]
        scales_itself = True
    if not scales_itself:
        return expected
    if not all(255 * factor for factor in scale):
        raise InputError("weights", str(path), "its layers scale every image by zero")
    # pixels * scale + offset = (pixels / 255 - mean) / std
    std = tuple(1 / (255 * factor) for factor in scale)
    mean = tuple(-shift * s for shift, s in zip(offset, std, strict=True))
    return replace(expected, mean=mean, std=std)


def _before_architecture(path: Path, layers: KerasLayers) -> Iterator[tuple[str, dict[str, Any]]]:
    """The layers before the first convolution that change images.

    Raises:
        InputError: a layer after them is not understood.
    """
    kinds = [kind for kind, _ in layers]
    convolutions = [n for n, kind in enumerate(kinds) if _ON_WINDOWS.get(kind) == CONVOLUTIONS]
    heads = [number for number, kind in enumerate(kinds) if kind == "Dense"]
    first = convolutions[0] if convolutions else len(kinds)
    head = heads[-1] if heads else len(kinds)
    for number, (kind, settings) in enumerate(layers):
        name = as_text(settings.get("name")) or kind
        if _does_nothing(kind, settings):
            continue
        if number < first:
            yield kind, settings
        elif kind not in (_KNOWN if number <= head else _AFTER_HEAD):
            raise _not_understood(path, kind, name)
        elif number < head and (activation := _activation(kind, settings)) not in _OF_BODY:
            reason = f"its layer {name!r} ({kind}) applies {activation}, and before their heads"
            raise InputError("weights", str(path), f"{reason} the models here have ReLU alone")


def _does_nothing(kind: str, settings: dict[str, Any]) -> bool:
    """Whether a layer changes nothing in evaluation."""
    if kind == "Activation":
        return _activation(kind, settings) == "linear"
    if kind == "ZeroPadding2D":
        return not _pads(settings)
    return kind in _INACTIVE or kind.startswith("Random")


def _pads(settings: dict[str, Any]) -> bool:
    """Whether a layer of ZeroPadding2D pads, by an amount in any form that Keras writes."""
    return any(as_whole(amount) != 0 for amount in _flat(settings.get("padding", 1)))


def probabilities_of_head(path: Path, layers: KerasLayers | None) -> str:
    """What makes probabilities of the logits of a model's head: "softmax" or "sigmoid".

    Args:
        path: path of the model's file, for messages.
        layers: see `with_own_preprocessing`.

    Returns:
        The activation of the head; "softmax" of a head that has none, as Keras trains it with
        `from_logits`, and where `layers` is None, as of the published models.

    Raises:
        InputError: there is no head, or one with another activation.
    """
    if layers is None:
        return SOFTMAX
    heads = [number for number, (kind, _) in enumerate(layers) if kind == "Dense"]
    if not heads:
        raise InputError("weights", str(path), f"its configuration lists no Dense layer{_NO_HEAD}")
    applied = [_activation(*layer) for layer in layers[heads[-1] :]]
    activations = [activation for activation in applied if activation != "linear"] or [SOFTMAX]
    if len(activations) > 1 or activations[0] not in PROBABILITIES:
        name = as_text(layers[heads[-1]][1].get("name")) or "Dense"
        reason = f"its head {name!r} ends in {' and '.join(activations)}, and only a softmax, a"
        raise InputError("weights", str(path), f"{reason} sigmoid or neither is read{_NO_HEAD}")
    return activations[0]


def settings_of(path: Path, layers: KerasLayers | None) -> dict[str, Any]:
    """The settings of `create_model` that a configuration tells, and no array does.

    Args:
        path: path of the model's file, for messages.
        layers: see `with_own_preprocessing`.

    Raises:
        InputError: layers differ in what is one setting here, or convolve or pool as none do here.
    """
    epsilons: dict[float | None, str] = {}
    for kind, settings in layers or ():
        name = as_text(settings.get("name")) or kind
        if kind == "BatchNormalization":
            epsilons.setdefault(as_real(settings.get("epsilon", 1e-3)), name)
        dilations = _sides(settings.get("dilation_rate", 1))
        if dilations != (1, 1):
            raise _unlike_here(path, name, kind, f"is dilated by {dilations}")
        if kind == "ZeroPadding2D" and _pads(settings):
            raise _unlike_here(path, name, kind, f"pads by {as_text(settings.get('padding'))}")
    if len(epsilons) > 1 or None in epsilons:
        listed = ", ".join(f"{name!r} has {value}" for value, name in epsilons.items())
        reason = f"its normalizations differ in their epsilon: {listed}"
        raise InputError("weights", str(path), f"{reason}; the models here have one for all")
    return {"norm_epsilon": next(iter(epsilons))} if epsilons else {}


def windows_of(layers: KerasLayers) -> Counter[Geometry]:
    """How often each geometry occurs among the convolutions and pools of a configuration."""
    found: Counter[Geometry] = Counter()
    for kind, settings in layers:
        if operation := _ON_WINDOWS.get(kind):
            convolves = operation == CONVOLUTIONS
            window = settings.get("kernel_size" if convolves else "pool_size")
            strides = settings.get("strides", 1 if convolves else None)
            if strides is None and not convolves:
                strides = window
            padding = as_text(settings.get("padding", "valid")).upper()
            found[Geometry.of(operation, _sides(window), _sides(strides), padding)] += 1
    return found


def _sides(value: object) -> Sides:
    """A size in Keras's configuration, a number or a list of two, as (height, width)."""
    height, width = value if isinstance(value, list) and len(value) == 2 else (value, value)
    return as_whole(height), as_whole(width)


def _unlike_here(path: Path, name: str, kind: str, what: str) -> InputError:
    reason = f"its layer {name!r} ({kind}) {what}, as no layer of the models here"
    return InputError("weights", str(path), reason)


def _activation(kind: str, settings: dict[str, Any]) -> str:
    """The name of the activation that a layer applies; "linear" for none."""
    if kind == "Softmax":
        axis = settings.get("axis", -1)
        return SOFTMAX if axis in (-1, 1, [-1], [1]) else f"softmax over axis {as_text(axis)}"
    if kind == "ReLU":
        limits = [settings.get(name) for name in ("max_value", "negative_slope", "threshold")]
        return "relu" if not any(limits) else "relu with limits or a slope"
    activation = settings.get("activation")
    if isinstance(activation, dict):  # a function or a layer, of Keras or the user's own
        names = [activation.get(name) for name in ("registered_name", "config", "class_name")]
        own = [name for name in names[:1] if ">" in as_text(name)]
        activation = next(name for name in (*own, *names[1:], "unknown") if isinstance(name, str))
    return as_text(activation) or "linear"


def require_documented_range(
    path: Path, layers: KerasLayers | None, expected: Preprocessing
) -> None:
    """Raises unless a model expects images as documented, where its own scaling would be lost.

    Args:
        path: path of the model's file, for messages.
        layers: see `with_own_preprocessing`.
        expected: the preparation that the source of the weights documents.

    Raises:
        InputError: the model scales its images itself to another range.
    """
    actual = with_own_preprocessing(path, layers, expected)
    scaling, documented = (actual.mean, actual.std), (expected.mean, expected.std)
    if not np.allclose(scaling, documented, rtol=1e-5, atol=1e-7):
        reason = (
            "scales its images itself, to another range than -1 to 1, and only its weights would "
            "be taken; `xception-jax convert` keeps the scaling for predict, evaluate and export"
        )
        raise InputError("weights", str(path), reason)


def _affine(
    path: Path, kind: str, name: str, settings: dict[str, Any]
) -> tuple[list[float], list[float]]:
    """Factor and shift of each channel in a layer that scales images."""
    if kind == "Rescaling":
        return (
            _numbers(path, name, settings.get("scale")),
            _numbers(path, name, settings.get("offset", 0.0)),
        )
    if kind == "Normalization":
        if settings.get("mean") is None or settings.get("variance") is None:
            reason = f"its layer {name!r} (Normalization) has no mean and variance of its own"
            raise InputError("weights", str(path), f"{reason}; give them when it is made")
        mean = _numbers(path, name, settings["mean"])
        variance = _numbers(path, name, settings["variance"])
        if min(variance) < 0:
            reason = f"its layer {name!r} (Normalization) has a variance below zero"
            raise InputError("weights", str(path), reason)
        factor = [1 / max(value**0.5, 1e-7) for value in variance]
        if settings.get("invert"):
            raise _not_understood(path, "inverted Normalization", name)
        return factor, [-m * f for m, f in zip(mean, factor, strict=True)]
    raise _not_understood(path, kind, name)


def _numbers(path: Path, name: str, value: object) -> list[float]:
    """A number for each channel, of one number or nested lists of one for each."""
    values = _flat(value)
    numbers = [number for item in values if (number := as_real(item)) is not None]
    if len(numbers) not in (1, _CHANNELS) or len(numbers) != len(values):
        reason = f"its layer {name!r} scales by {as_text(value)[:100]}"
        raise InputError("weights", str(path), f"{reason}, which is no number for each channel")
    return numbers * (_CHANNELS // len(numbers))


def _flat(value: object) -> list[object]:
    """The items of nested lists; of another value, itself."""
    return (
        [item for inner in value for item in _flat(inner)] if isinstance(value, list) else [value]
    )


def _not_understood(path: Path, kind: str, name: str) -> InputError:
    reason = (
        f"its layer {name!r} ({kind}) is not understood; leave it out of the model, save the "
        "weights alone, and prepare the images before"
    )
    return InputError("weights", str(path), reason)
