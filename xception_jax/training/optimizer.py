"""The paper's optimizers and learning-rate schedules (section 4.3), as Optax chains."""

from dataclasses import dataclass
from typing import TypeVar

import optax
from jaxtyping import Array, Float, PyTree

Tree = TypeVar("Tree", bound=PyTree)
Scalar = float | Float[Array, ""]


@dataclass(frozen=True)
class OptimizerSettings:
    """The config's `optimizer` group with epochs turned into steps; hashable.

    The learning rate and the weight decay are not in it but arguments, which may be traced: runs
    that differ in nothing else share a program.

    Attributes:
        weight_decay: whether there is any.
    """

    name: str
    momentum: float
    nesterov: bool
    rms_decay: float
    epsilon: float
    schedule: str
    decay_rate: float
    decay_steps: int
    warmup_steps: int
    total_steps: int
    weight_decay: bool
    clip_norm: float | None

    def factor_at(self) -> optax.Schedule:
        """What the learning rate is multiplied by at step 0, 1, …, at most 1.

        The first `warmup_steps` rise linearly from zero.
        """
        after_warmup = max(1, self.total_steps - self.warmup_steps)
        main = {
            "constant": optax.constant_schedule(1.0),
            # In stairs, as "0.94 every 2 epochs" says; counted from the end of the warm-up.
            "exponential": optax.exponential_decay(
                1.0, self.decay_steps, self.decay_rate, staircase=True
            ),
            "cosine": optax.cosine_decay_schedule(1.0, after_warmup),
        }[self.schedule]
        if not self.warmup_steps:
            return main
        rise = optax.linear_schedule(0.0, 1.0, self.warmup_steps)
        return optax.join_schedules([rise, main], [self.warmup_steps])

    def clipped(self, gradients: Tree) -> Tree:
        """Whole gradients, scaled down to the bound on their global norm if there is one."""
        if self.clip_norm is None:
            return gradients
        scaled: Tree
        scaled, _ = optax.clip_by_global_norm(self.clip_norm).update(gradients, optax.EmptyState())
        return scaled

    def transformation(
        self, learning_rate: Scalar, weight_decay: Scalar
    ) -> optax.GradientTransformation:
        """Add the L2 gradient to a `clipped` one, then SGD or RMSprop with momentum.

        All of it is element by element: parts of the arrays can be updated in different places.

        L2 is added to the gradient before momentum, as a penalty in the loss would be (not
        decoupled), and only for kernels: the paper does not say for which parameters; biases and
        batch normalization's scales are left alone, as usual.

        Args:
            learning_rate: the highest one of the schedule.
            weight_decay: not read where the settings have none.
        """
        steps = []
        if self.weight_decay:
            steps.append(optax.add_decayed_weights(weight_decay, mask=_kernels))
        factor = self.factor_at()
        scale = optax.scale_by_learning_rate(lambda step: learning_rate * factor(step))
        momentum = [optax.trace(self.momentum, self.nesterov)] if self.momentum else []
        if self.name == "rmsprop":
            # TensorFlow's form, which the paper used: epsilon inside the square root, a mean
            # square that starts at one, and momentum over updates that hold the learning rate.
            root = optax.scale_by_rms(
                self.rms_decay, self.epsilon, initial_scale=1.0, eps_in_sqrt=True
            )
            steps += [root, scale, *momentum]
        else:
            steps += [*momentum, scale]
        return optax.chain(*steps)


def _kernels(parameters: PyTree) -> PyTree:
    return {path: path.endswith("kernel") for path in parameters}
