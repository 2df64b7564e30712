"""The paper's optimizers (section 4.3), and Optax's by name, with a learning-rate schedule."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from xception_jax.config.schema import OptimizerConfig
from xception_jax.errors import InputError, nearest_name, one_line

Tree = TypeVar("Tree", bound=PyTree)
Scalar = float | Float[Array, ""]
Factory = Callable[..., optax.GradientTransformation]

_PAPER = ("sgd", "rmsprop")
# Arguments that settings of their own decide, or that are ours to give.
_SET_ELSEWHERE = {
    "learning_rate": "optimizer.learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "mask": "optimizer.weight_decay",
    "weight_decay_mask": "optimizer.weight_decay",
    "muon_weight_dimension_numbers": "the shapes of the kernels",
}
# LAMB scales the decay together with the update, so it has to add the decay itself.
_DECAYS_INSIDE = ("lamb",)
# Their decay shrinks weights apart from the gradient: coupled to it, they are other optimizers.
_DECOUPLED = frozenset(
    {"adamaxw", "adamw", "adan", "ademamix", "dadapt_adamw", "lamb", "lion", "muon"}
)
# These draw noise from a seed of their own, or evaluate other weights than they train.
_UNFIT = ("noisy_sgd", "dpsgd", "schedule_free", "schedule_free_adamw", "schedule_free_sgd")
# The update of a number depends on that number's own gradients alone: parts of arrays can be
# updated on different devices.
_ELEMENTWISE = frozenset(
    {
        *_PAPER, "adabelief", "adadelta", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan",
        "amsgrad", "lion", "nadam", "nadamw", "radam", "rprop", "sign_sgd", "signum", "yogi",
    }
)  # fmt: skip


@dataclass(frozen=True)
class OptimizerSpec:
    """The part of an optimizer that is fixed in the compiled code of a step; hashable.

    The learning rate and the weight decay are arguments, which may be traced: runs that differ in
    nothing else share a program.

    Attributes:
        config: its learning rate is not read; of its weight decay, whether there is any.
        decay_steps: period of the exponential schedule, steps.
        warmup_steps: steps of linear increase at the start.
        total_steps: steps of the run.
    """

    config: OptimizerConfig
    decay_steps: int
    warmup_steps: int
    total_steps: int

    def factor_at(self) -> optax.Schedule:
        """The schedule: what the learning rate is multiplied by at step 0, 1, …, at most 1."""
        after_warmup = max(1, self.total_steps - self.warmup_steps)
        main = {
            "constant": optax.constant_schedule(1.0),
            # In stairs, as "0.94 every 2 epochs" says; counted from the end of the warm-up.
            "exponential": optax.exponential_decay(
                1.0, self.decay_steps, self.config.decay_rate, staircase=True
            ),
            "cosine": optax.cosine_decay_schedule(1.0, after_warmup),
        }[self.config.schedule]
        if not self.warmup_steps:
            return main
        rise = optax.linear_schedule(0.0, 1.0, self.warmup_steps)
        return optax.join_schedules([rise, main], [self.warmup_steps])

    def clipped(self, gradients: Tree) -> Tree:
        """The gradients, scaled down where their global norm exceeds the config's bound.

        Args:
            gradients: whole gradients, not shards: the norm is over all of them.
        """
        if self.config.clip_norm is None:
            return gradients
        scaled: Tree
        clip = optax.clip_by_global_norm(self.config.clip_norm)
        scaled, _ = clip.update(gradients, optax.EmptyState())
        return scaled

    def transformation(
        self, learning_rate: Scalar, weight_decay: Scalar
    ) -> optax.GradientTransformation:
        """The transformation of a `clipped` gradient to an update of the parameters.

        Weight decay is for kernels only: the paper does not say for which parameters; biases and
        batch normalization's scales are left alone, as usual.

        Args:
            learning_rate: the highest one of the schedule.
            weight_decay: not read where the config has none.
        """
        factor = self.factor_at()

        def rate(step: Any) -> Any:
            return learning_rate * factor(step)

        before, decay, after = [], 0.0, []  # type: tuple[list[Any], Scalar, list[Any]]
        if self.config.weight_decay:
            if self.config.decay == "coupled":
                # Before momentum, as a penalty in the loss would be.
                before.append(optax.add_decayed_weights(weight_decay, mask=_kernels))
            elif self.config.name in _DECAYS_INSIDE:
                decay = weight_decay
            else:
                after.append(_shrink(rate, weight_decay))
        main = (
            self._as_in_the_paper(rate)
            if self.config.name in _PAPER
            else [_from_optax(self.config, rate, decay)]
        )
        return optax.chain(*before, *main, *after)

    def _as_in_the_paper(self, rate: optax.Schedule) -> list[optax.GradientTransformation]:
        config, scale = self.config, optax.scale_by_learning_rate(rate)
        momentum = [optax.trace(config.momentum, config.nesterov)] if config.momentum else []
        if config.name == "sgd":
            return [*momentum, scale]
        # TensorFlow's form, which the paper used: epsilon inside the square root, a mean square
        # that starts at one, and momentum over updates that hold the learning rate.
        root = optax.scale_by_rms(
            config.rms_decay, config.epsilon, initial_scale=1.0, eps_in_sqrt=True
        )
        return [root, scale, *momentum]


def optimizer_spec(
    config: OptimizerConfig, *, batch_size: int, examples: int, total_steps: int
) -> OptimizerSpec:
    """The optimizer of a run, its epochs turned into steps.

    Args:
        config: settings of the optimizer.
        batch_size: images per step.
        examples: images of the training split.
        total_steps: steps of the run.
    """
    period = config.decay_examples or config.decay_epochs * examples
    return OptimizerSpec(
        config=replace(config, learning_rate=1.0, weight_decay=float(config.weight_decay > 0)),
        decay_steps=max(1, round(period / batch_size)),
        warmup_steps=round(config.warmup_epochs * examples / batch_size),
        total_steps=total_steps,
    )


def require_optimizer(config: OptimizerConfig, *, sharded: bool) -> None:
    """Checks that the optimizer exists, takes its options, and can update parameters by gradients.

    Args:
        config: settings of the optimizer.
        sharded: each device updates a part of the arrays.

    Raises:
        InputError: it does not; names the setting and the nearest one that is valid.
    """
    if sharded and config.name not in _ELEMENTWISE:
        reason = f"works on parts of arrays, and {config.name} needs whole ones"
        raise InputError("train.shard_optimizer", True, reason, False)
    options = config.options.to_dict()
    if config.name in _PAPER:
        for name, value in options.items():
            reason = f"{config.name} takes none; it has optimizer.momentum, optimizer.nesterov, …"
            raise InputError(f"optimizer.options.{name}", value, reason)
        return
    known = _factories()
    if config.name not in known:
        near = nearest_name(config.name, [*_PAPER, *known])
        reason = "must be sgd, rmsprop or an optimizer of Optax that gradients alone suffice for"
        raise InputError("optimizer.name", config.name, reason, near)
    accepted = set(inspect.signature(known[config.name]).parameters)
    for name, value in options.items():
        if name in _SET_ELSEWHERE:
            raise InputError(
                f"optimizer.options.{name}", value, f"follows from {_SET_ELSEWHERE[name]}"
            )
        if name not in accepted:
            near = nearest_name(name, accepted - set(_SET_ELSEWHERE))
            reason = f"is no argument of optax's {config.name}"
            raise InputError(f"optimizer.options.{name}", value, reason, near)
    if config.weight_decay and config.decay == "coupled" and config.name in _DECOUPLED:
        reason = f"is not how {config.name} decays weights; optimizer.weight_decay=0 has none"
        raise InputError("optimizer.decay", config.decay, reason, "decoupled")
    _require_works(config)


def _require_works(config: OptimizerConfig) -> None:
    """Raises `InputError` where Optax refuses the options, or asks for more than gradients."""
    shapes = {"a/kernel": (3, 3, 2, 4), "b/kernel": (4, 3), "b/bias": (3,)}
    parameters = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes.items()}
    optimizer = OptimizerSpec(config, 1, 0, 1).transformation(0.1, 0.1)

    def step(parameters: Mapping[str, Array]) -> Any:
        return optimizer.update(dict(parameters), optimizer.init(parameters), parameters)

    try:
        jax.eval_shape(step, parameters)
    except Exception as error:  # whatever Optax raises, its arguments came from the user
        given = ", ".join(f"{name}={value!r}" for name, value in config.options)
        reason = f"cannot train here{f' with {given}' if given else ''} ({one_line(error)})"
        raise InputError("optimizer.name", config.name, reason) from error


@cache
def _factories() -> dict[str, Factory]:
    """Optax's optimizers by name: what takes a learning rate and can update by gradients."""
    from optax import contrib

    factories: dict[str, Factory] = {}
    for module in (contrib, optax):
        for name, value in vars(module).items():
            hidden = name.startswith(("_", "scale_by_")) or name in _UNFIT
            if hidden or not inspect.isfunction(value):
                continue
            if "learning_rate" in inspect.signature(value).parameters:
                factories[name] = value
    return factories


def _from_optax(
    config: OptimizerConfig, rate: optax.Schedule, decay: Scalar
) -> optax.GradientTransformation:
    """Optax's optimizer of this name with the config's options."""
    factory = _factories()[config.name]
    accepted = inspect.signature(factory).parameters
    arguments = config.options.to_dict()
    if "weight_decay" in accepted:
        arguments["weight_decay"] = decay
    if "mask" in accepted:
        arguments["mask"] = _kernels
    if config.name == "muon":
        arguments["muon_weight_dimension_numbers"] = _matrices
    return factory(rate, **arguments)


def _shrink(rate: optax.Schedule, weight_decay: Scalar) -> optax.GradientTransformation:
    """Decoupled decay (Loshchilov and Hutter 2019): less of each kernel by rate times decay."""

    def init(_: PyTree) -> optax.ScaleByScheduleState:
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(updates: Tree, state: Any, parameters: Any = None) -> tuple[Tree, Any]:
        shrink = -rate(state.count) * weight_decay
        decayed = optax.add_decayed_weights(shrink, mask=_kernels)
        after, _ = decayed.update(updates, decayed.init(parameters), parameters)
        count = optax.safe_increment(state.count)
        return after, optax.ScaleByScheduleState(count=count)

    return optax.GradientTransformation(init, update)


def _kernels(parameters: Mapping[str, Any]) -> dict[str, bool]:
    return {path: path.endswith("kernel") for path in parameters}


def _matrices(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The axes of each kernel that make it Muon's matrix, inputs by outputs; else None.

    Adam trains the parameters without: a depthwise kernel, whose channels do not mix, is no matrix.
    """
    from optax.contrib import MuonDimensionNumbers

    def dimensions(path: str, value: Any) -> Any:
        masked = isinstance(value, optax.MaskedNode)  # Muon asks again of its own part
        if masked or not path.endswith("kernel") or value.ndim not in (2, 4):
            return None
        if value.ndim == 2:
            return MuonDimensionNumbers(reduction_axis=(0,), output_axis=(1,))
        if value.shape[2] == 1 and value.shape[0] * value.shape[1] > 1:
            return None
        return MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=(3,))

    return {path: dimensions(path, value) for path, value in parameters.items()}
