"""Every setting of a run: its default, its valid values and its meaning."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xception_jax.errors import InputError, nearest_name

Check = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Field:
    """One setting.

    Attributes:
        default: the value where nothing sets it.
        check: takes (name, value), returns the canonical value or raises `InputError`.
        doc: one line for people.
        identity: whether the value can change a run's result, and so is part of the run's id.
    """

    default: Any
    check: Check
    doc: str
    identity: bool = True


def _number(kind: type, low: float, high: float) -> Check:
    word = "an integer" if kind is int else "a number"

    def check(name: str, value: Any) -> Any:
        whole = isinstance(value, float) and value.is_integer() and kind is int
        if isinstance(value, bool) or not (isinstance(value, (int, float)) or whole):
            raise InputError(name, value, f"must be {word}", None)
        if not low <= value <= high or (kind is int and value != int(value)):
            unordered = isinstance(value, float) and math.isnan(value)
            near = None if unordered else kind(min(max(value, low), high))
            raise InputError(name, value, f"must be {word} from {low} to {high}", near)
        return kind(value)

    return check


def _integer(low: int, high: int = 2**31 - 1) -> Check:
    return _number(int, low, high)


def _real(low: float, high: float) -> Check:
    return _number(float, low, high)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(
            name, value, "must be true or false", nearest_name(value, ["true", "false"])
        )
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > 300 or not value.isprintable():
        raise InputError(name, value, "must be text of at most 300 printable characters")
    return value


def _path(name: str, value: Any) -> str:
    path = _text(name, value)
    if not path or any(len(part.encode()) > 255 for part in path.split("/")):
        raise InputError(name, value, "must be a path, each part of at most 255 bytes")
    return path


def _choice(*choices: str) -> Check:
    def check(name: str, value: Any) -> str:
        if value not in choices:
            near = nearest_name(value, choices)
            raise InputError(name, value, f"must be one of {', '.join(choices)}", near)
        return str(value)

    return check


def _optional(inner: Check) -> Check:
    return lambda name, value: None if value is None else inner(name, value)


def _list_of(inner: Check) -> Check:
    def check(name: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise InputError(name, value, "must be a list such as [4096,4096]")
        return tuple(inner(name, item) for item in value)

    return check


def _segments(name: str, value: Any) -> int | str:
    if isinstance(value, str):
        return _choice("per_channel")(name, value)
    return _integer(1)(name, value)


FIELDS: dict[str, Field] = {
    "seed": Field(0, _integer(0), "random seed: initial values, data order, augmentation, dropout"),
    # -- data ------------------------------------------------------------------------------------
    "data.name": Field(
        "fashion_mnist_mini", _text, "a data set: see `xception-jax data list`; or `folder`"
    ),
    "data.directory": Field(
        None, _optional(_path), "where prepared data sets are, or the image folder", identity=False
    ),
    "data.image_size": Field(28, _integer(1, 4096), "height and width of the images, pixels"),
    "data.validation_fraction": Field(
        0.1, _real(0.01, 0.5), "share of train held out where a set has no validation split"
    ),
    "data.train_examples": Field(
        None, _optional(_integer(1)), "use only the first so many training examples; null: all"
    ),
    "data.pipeline": Field(
        "auto",
        _choice("auto", "in_memory", "streaming"),
        "in_memory: the set lies on the device; streaming: Grain; auto: by size",
    ),
    "data.augmentation": Field(
        "none",
        _choice("none", "shift_flip", "random_resized_crop"),
        "of training images; shift_flip pads by data.padding, crops back, and flips",
    ),
    "data.padding": Field(2, _integer(0, 512), "pixels that shift_flip moves an image at most"),
    "data.corrupt_images": Field(
        "stop", _choice("stop", "skip"), "what an image that cannot be decoded does to the run"
    ),
    "data.threads": Field(8, _integer(1, 1024), "decoding threads per host", identity=False),
    # -- model -----------------------------------------------------------------------------------
    "model.name": Field("xception", _text, "see `xception_jax.models.list_models()`"),
    "model.order": Field(
        "depthwise_first", _choice("depthwise_first", "pointwise_first"), "of a block's operations"
    ),
    "model.intermediate_activation": Field(
        "none", _text, "between a block's two operations: none, relu, elu, … (paper figure 10)"
    ),
    "model.segments": Field(
        "per_channel", _segments, "independent channel groups of the spatial convolution"
    ),
    "model.kernel_size": Field(3, _integer(1, 31), "of the separable convolutions, pixels, odd"),
    "model.intermediate_norm": Field(
        False, _flag, "batch normalization between a block's two operations"
    ),
    "model.norm_momentum": Field(0.99, _real(0, 0.99999), "of batch normalization's statistics"),
    "model.norm_epsilon": Field(1e-3, _real(1e-8, 1), "of batch normalization"),
    "model.norm_group_size": Field(
        None,
        _optional(_integer(2)),
        "consecutive images of a batch that are normalized together; null: the whole batch, of"
        " which train.accumulation_steps makes parts",
    ),
    "model.residual": Field(True, _flag, "residual connections (paper figure 9)"),
    "model.width": Field(1.0, _real(0.01, 16), "multiplies every number of features"),
    "model.middle_modules": Field(
        None, _optional(_integer(0, 256)), "modules in the middle flow; null: the model's own"
    ),
    "model.separable": Field(
        False, _flag, "separable convolutions in place of regular ones (Inception, AlexNet)"
    ),
    "model.padding": Field(
        "same",
        _choice("same", "torch"),
        "of convolutions and pools with a stride: as in TensorFlow and Keras, or as in PyTorch",
    ),
    "model.fully_connected": Field(
        None,
        _optional(_list_of(_integer(1, 2**20))),
        "units of the layers before the classifier (paper figure 8); null: the model's own",
    ),
    "model.dropout": Field(0.0, _real(0, 0.99), "rate before the classifier"),
    "model.dtype": Field(
        "float32", _choice("float32", "bfloat16"), "of the computation; parameters stay float32"
    ),
    "model.depthwise_implementation": Field(
        "auto", _text, "see `xception_jax.ops.DEPTHWISE_IMPLEMENTATIONS`"
    ),
    "model.matmul_dtype": Field(
        None,
        _optional(_choice("bfloat16")),
        "of the factors of matrix products, forward and backward; convergence is not shown: at"
        " initial values gradients of Xception are off by 0.37 (batch of 8, cosine 0.93)",
    ),
    "model.scan_middle": Field(
        "auto",
        _choice("auto", "on", "off"),
        "compile the equal modules of the middle flow once, as a loop; auto: by backend",
        identity=False,
    ),
    "model.rematerialize": Field(
        False,
        _flag,
        "compute modules again in the backward pass, instead of keeping what is inside of them",
        identity=False,
    ),
    # -- optimizer -------------------------------------------------------------------------------
    "optimizer.name": Field("sgd", _choice("sgd", "rmsprop"), "paper section 4.3"),
    "optimizer.learning_rate": Field(0.045, _real(0, 1e3), "the highest one of the schedule"),
    "optimizer.reference_batch_size": Field(
        None,
        _optional(_integer(1)),
        "for which learning_rate is stated: it is scaled linearly to train.batch_size; null: as is",
    ),
    "optimizer.momentum": Field(0.9, _real(0, 0.9999), "of both optimizers"),
    "optimizer.nesterov": Field(False, _flag, "Nesterov's form of the momentum"),
    "optimizer.rms_decay": Field(0.9, _real(0, 0.99999), "of rmsprop's mean square"),
    "optimizer.epsilon": Field(1.0, _real(1e-12, 10), "inside rmsprop's square root"),
    "optimizer.schedule": Field(
        "exponential", _choice("constant", "exponential", "cosine"), "of the learning rate"
    ),
    "optimizer.decay_rate": Field(0.94, _real(1e-6, 1), "of the exponential schedule, per period"),
    "optimizer.decay_epochs": Field(2.0, _real(1e-3, 1e6), "the exponential schedule's period"),
    "optimizer.decay_examples": Field(
        None, _optional(_integer(1)), "that period in training images; null: decay_epochs"
    ),
    "optimizer.warmup_epochs": Field(0.0, _real(0, 1e6), "of linear increase from zero"),
    "optimizer.weight_decay": Field(
        1e-5, _real(0, 10), "L2, added to the gradient of convolution and dense kernels only"
    ),
    "optimizer.clip_norm": Field(
        None, _optional(_real(1e-6, 1e9)), "bound on the gradient's global norm"
    ),
    # -- training --------------------------------------------------------------------------------
    "train.batch_size": Field(64, _integer(1, 2**20), "images a step, over all devices"),
    "train.epochs": Field(10.0, _real(1e-6, 1e6), "passes over the training split"),
    "train.initial_weights": Field(
        None,
        _optional(_path),
        "a directory that `convert` made, or a weight file, to start from instead of random values",
    ),
    "train.accumulation_steps": Field(
        1, _integer(1, 4096), "parts a batch is computed in, one after another"
    ),
    "train.shard_optimizer": Field(
        False,
        _flag,
        "each device keeps a part of the optimizer's state and of the averages, instead of all",
        identity=False,
    ),
    "train.steps_per_dispatch": Field(
        None,
        _optional(_integer(1, 1024)),
        "steps that the devices take between two words with the host, at most; null: by backend",
        identity=False,
    ),
    "train.label_smoothing": Field(0.0, _real(0, 0.999), "probability spread over all classes"),
    "train.average_decay": Field(
        0.999, _real(0, 0.9999999), "of the Polyak average used in evaluation; 0: none"
    ),
    "train.evaluate_every_epochs": Field(1.0, _real(1e-6, 1e6), "between validations"),
    "train.log_every_steps": Field(50, _integer(1), "training steps that one log row averages"),
    "train.stuck_after_seconds": Field(
        600.0,
        _optional(_real(0.1, 1e6)),
        "without a finished step, after which a process ends itself (exit code 70); null: never",
        identity=False,
    ),
    "evaluation.batch_size": Field(
        500, _integer(1, 2**20), "images a step, over all devices", identity=False
    ),
    # -- what a run keeps and tells ----------------------------------------------------------------
    "checkpoint.every_epochs": Field(1.0, _real(1e-6, 1e6), "between checkpoints", identity=False),
    "checkpoint.keep_last": Field(2, _integer(1, 1000), "most recent ones kept", identity=False),
    "checkpoint.keep_best": Field(
        1, _integer(0, 1000), "ones kept of the best validation (top-1, or MAP@100)", identity=False
    ),
    "wandb.mode": Field(
        "offline",
        _choice("offline", "online", "disabled"),
        "W&B beside the local log",
        identity=False,
    ),
    "wandb.project": Field("xception-jax", _text, "W&B project", identity=False),
    "wandb.entity": Field(None, _optional(_text), "W&B team or user", identity=False),
    "wandb.tags": Field((), _list_of(_text), "W&B tags", identity=False),
}
