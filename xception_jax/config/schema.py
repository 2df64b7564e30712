"""The settings of a run: the only definition of their types, defaults, ranges and help texts.

Those of the model are in `model.py`. A field's annotation is its type, and `setting` says the rest.
A setting's dotted name is the prefix of its class and the name of the field: `TrainConfig.epochs`
is `train.epochs`.
"""

import re
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Literal

from xception_jax.config.fields import (
    Checked,
    Options,
    Setting,
    group,
    path_or_none,
    plain,
    setting,
    text,
    walk,
)
from xception_jax.config.model import ModelConfig
from xception_jax.errors import InputError


def _step_range(name: str, value: Any) -> tuple[int, ...]:
    steps = value if isinstance(value, (list, tuple)) else (value,)
    if any(type(step) is not int or step < 1 for step in steps):
        raise InputError(name, value, "must be steps from 1 such as [20,25]")
    if steps and (len(steps) != 2 or steps[0] > steps[1]):
        raise InputError(name, value, "must be the first and the last step, or empty")
    return tuple(steps)


def _wandb_name(name: str, value: Any) -> str | None:
    """Checks the name of a project or team at W&B, which refuses others only once a run starts."""
    if value is None and name.endswith("entity"):
        return None
    given = text(name, value)
    if not given or len(given) > 128 or set(given) & set(r"/\#?%:"):
        reason = "must have 1 to 128 characters, none of them / \\ # ? % or :"
        if given.count("/") == 1 and name.endswith("project"):
            reason += "; the team goes into wandb.entity"
        near = re.sub(r"[\\#?%:]", "-", given.rpartition("/")[2])[:128]
        raise InputError(name, value, reason, near or None)
    return given


def _tags(name: str, value: Any) -> tuple[str, ...]:
    given = value.split(",") if isinstance(value, str) and "," in value else value
    if not isinstance(given, (list, tuple)):
        raise InputError(name, value, "must be tags such as a,b, or a list such as ['a']")
    tags = tuple(text(name, tag).strip() for tag in given)
    if not all(0 < len(tag) <= 64 for tag in tags):
        raise InputError(name, value, "must be tags of 1 to 64 characters")
    return tags


_OF_THE_SOURCE = (
    "name",
    "directory",
    "validation_fraction",
    "train_examples",
    "upright",
    "image_key",
    "label_key",
    "train_split",
)


@dataclass(frozen=True)
class DataConfig(Checked):
    """The settings of the data: the source of the images, and their augmentation."""

    PREFIX: ClassVar[str] = "data."

    name: str = setting(
        "fashion_mnist_mini", "name of the data set (see `xception-jax data list`), or `folder`"
    )
    directory: str | None = setting(
        None,
        "directory of the prepared data sets, or of the image folder",
        check=path_or_none,
        identity=False,
    )
    image_size: int = setting(28, "height and width of the images, pixels", low=1, high=4096)
    validation_fraction: float = setting(
        0.1,
        "share of the training images held out for each split that is missing; a set without a test"
        " split is tested on its validation split",
        low=0.01,
        high=0.5,
    )
    split_seed: Literal["fixed", "seed"] = setting(
        "fixed",
        "which examples validation holds out of train: fixed, or drawn anew for each seed of a run",
        identity="unless_default",
    )
    train_examples: int | None = setting(
        None, "number of training examples to use, a random sample; null: all", low=1
    )
    upright: bool = setting(
        True, "turn images as their EXIF orientation says; Keras's and timm's own readers do not"
    )
    image_key: str | None = setting(
        None, "feature of a prepared set that holds the image; null: the one the set declares"
    )
    label_key: str | None = setting(
        None, "feature of a prepared set that holds the class; null: the one the set declares"
    )
    train_split: str | None = setting(
        None, "split of a prepared set to train on, for sets that have no `train`; null: train"
    )
    pipeline: Literal["auto", "in_memory", "streaming"] = setting(
        "auto",
        "in_memory: the set lies on the device; streaming: Grain reads it; auto: by its size",
    )
    augmentation: Literal["none", "shift_flip", "random_resized_crop"] = setting(
        "none",
        "augmentation of training images; shift_flip pads by data.padding, crops and flips",
    )
    padding: int = setting(
        2, "largest number of pixels by which shift_flip moves an image", low=0, high=512
    )
    corrupt_images: Literal["stop", "skip"] = setting(
        "stop", "what to do with an image that cannot be decoded"
    )
    threads: int = setting(8, "decoding threads per host", low=1, high=1024, identity=False)

    def source(self, seed: int) -> dict[str, Any]:
        """The settings that say which examples there are: the arguments of `data.load`.

        Args:
            seed: seed of the run.
        """
        settings = {name: getattr(self, name) for name in _OF_THE_SOURCE}
        return settings | {"split_seed": seed if self.split_seed == "seed" else None}


@dataclass(frozen=True)
class OptimizerConfig(Checked):
    """The settings of the optimizer and its learning-rate schedule (paper section 4.3)."""

    PREFIX: ClassVar[str] = "optimizer."

    name: str = setting(
        "sgd",
        "sgd or rmsprop as in the paper, or one of Optax's: adamw, lamb, lion, muon, …",
    )
    options: Options = setting(
        Options(), "arguments of Optax's optimizer by name, such as optimizer.options.b2=0.99"
    )
    learning_rate: float = setting(
        0.045, "highest learning rate of the schedule", low=0, high=1e3, in_pack="free"
    )
    reference_batch_size: int | None = setting(
        None,
        "batch size for which learning_rate is stated: it is scaled linearly to train.batch_size; "
        "null: no scaling",
        low=1,
    )
    momentum: float = setting(0.9, "momentum of sgd and rmsprop", low=0, high=0.9999)
    nesterov: bool = setting(False, "Nesterov's form of the momentum of sgd and rmsprop")
    rms_decay: float = setting(0.9, "decay of rmsprop's mean square", low=0, high=0.99999)
    epsilon: float = setting(1.0, "added inside rmsprop's square root", low=1e-12, high=10)
    schedule: Literal["constant", "exponential", "cosine"] = setting(
        "exponential", "schedule of the learning rate"
    )
    decay_rate: float = setting(
        0.94, "factor of the exponential schedule per period", low=1e-6, high=1
    )
    decay_epochs: float = setting(
        2.0, "period of the exponential schedule, epochs", low=1e-3, high=1e6
    )
    decay_examples: int | None = setting(
        None, "that period in training images instead; null: decay_epochs", low=1
    )
    warmup_epochs: float = setting(
        0.0, "epochs of linear increase from zero at the start", low=0, high=1e6
    )
    weight_decay: float = setting(
        1e-5,
        "decay of convolution and dense kernels; other parameters have none",
        low=0,
        high=10,
        in_pack="free_above_zero",
    )
    decay: Literal["coupled", "decoupled"] = setting(
        "coupled",
        "coupled: weight decay is added to the gradient (L2); decoupled: it shrinks the weights "
        "beside the optimizer's update, as in AdamW",
    )
    clip_norm: float | None = setting(
        None, "bound on the gradient's global norm; null: none", low=1e-6, high=1e9
    )


@dataclass(frozen=True)
class TrainConfig(Checked):
    """The settings of training: its length, its steps and its initial weights."""

    PREFIX: ClassVar[str] = "train."

    batch_size: int = setting(64, "images per step, over all devices", low=1, high=2**20)
    epochs: float = setting(10.0, "passes over the training split", low=1e-6, high=1e6)
    initial_weights: str | None = setting(
        None,
        "a directory that `convert` made, or a weight file, to start from; null: random values",
        check=path_or_none,
    )
    accumulation_steps: int = setting(
        1, "parts of a batch whose gradients are computed in turn and averaged", low=1, high=4096
    )
    shard_optimizer: bool = setting(
        False,
        "each device keeps a shard of the optimizer's state and of the averages, not all of it",
        identity=False,
    )
    steps_per_dispatch: int | None = setting(
        None,
        "most training steps per dispatched call; null: by backend",
        low=1,
        high=1024,
        identity=False,
    )
    label_smoothing: float = setting(0.0, "probability spread over all classes", low=0, high=0.999)
    average_decay: float = setting(
        0.999,
        "decay of the Polyak averages, of weights and of batch normalization's statistics, that "
        "are used in evaluation; 0: none",
        low=0,
        high=0.9999999,
    )
    evaluate_every_epochs: float = setting(1.0, "epochs between validations", low=1e-6, high=1e6)
    log_every_steps: int = setting(50, "training steps that one row of the log averages", low=1)
    stuck_after_seconds: float | None = setting(
        600.0,
        "seconds without a finished step after which a process ends itself (exit code 70); "
        "null: never",
        low=0.1,
        high=1e6,
        identity=False,
    )
    profile_steps: tuple[int, ...] = setting(
        (),
        "first and last training step of a profiler trace, such as [20,25]; empty: none",
        check=_step_range,
        identity=False,
        in_pack="free",
    )


@dataclass(frozen=True)
class EvaluationConfig(Checked):
    """The settings of evaluation."""

    PREFIX: ClassVar[str] = "evaluation."

    batch_size: int = setting(
        500, "images per evaluation step, over all devices", low=1, high=2**20, identity=False
    )


@dataclass(frozen=True)
class CheckpointConfig(Checked):
    """The settings of checkpoints: how often a run saves them, and which it keeps."""

    PREFIX: ClassVar[str] = "checkpoint."

    every_epochs: float = setting(
        1.0, "epochs between checkpoints", low=1e-6, high=1e6, identity=False
    )
    keep_last: int = setting(
        2, "number of most recent checkpoints kept", low=1, high=1000, identity=False
    )
    keep_best: int = setting(
        1,
        "number of checkpoints kept for their validation top-1 (or MAP@100)",
        low=0,
        high=1000,
        identity=False,
    )


@dataclass(frozen=True)
class WandbConfig(Checked):
    """The settings of the mirror at Weights & Biases."""

    PREFIX: ClassVar[str] = "wandb."

    mode: Literal["offline", "online", "disabled"] = setting(
        "offline", "mode of the mirror at W&B", identity=False, in_pack="free"
    )
    project: str = setting(
        "xception-jax", "W&B project", check=_wandb_name, identity=False, in_pack="free"
    )
    entity: str | None = setting(
        None, "W&B team or user", check=_wandb_name, identity=False, in_pack="free"
    )
    tags: tuple[str, ...] = setting(
        (), "W&B tags, separated by commas", check=_tags, identity=False, in_pack="free"
    )


@dataclass(frozen=True)
class Config(Checked):
    """The whole config of a run, checked."""

    seed: int = setting(
        0,
        "random seed of initial values, data order, augmentation and dropout",
        low=0,
        in_pack="free",
    )
    data: DataConfig = group(DataConfig)
    model: ModelConfig = group(ModelConfig)
    optimizer: OptimizerConfig = group(OptimizerConfig)
    train: TrainConfig = group(TrainConfig)
    evaluation: EvaluationConfig = group(EvaluationConfig)
    checkpoint: CheckpointConfig = group(CheckpointConfig)
    wandb: WandbConfig = group(WandbConfig)

    def flat(self) -> dict[str, Any]:
        """The value of every setting, by its dotted name."""
        return {name: reduce(getattr, known.path, self) for name, known in SETTINGS.items()}

    def to_dict(self) -> dict[str, Any]:
        """The settings as nested plain data, as `config.json` holds them."""
        nested: dict[str, Any] = {}
        for name, value in self.flat().items():
            prefix, _, leaf = name.rpartition(".")
            (nested.setdefault(prefix, {}) if prefix else nested)[leaf] = plain(value)
        return nested


SETTINGS: dict[str, Setting] = {declared.name: declared for declared in walk(Config)}
"""Every setting by its dotted name, in the order of their declaration."""
