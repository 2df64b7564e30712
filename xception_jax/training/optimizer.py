"""The paper's optimizers and learning-rate schedules (section 4.3), as Optax chains."""

from dataclasses import dataclass

import optax
from jaxtyping import PyTree


@dataclass(frozen=True)
class OptimizerSettings:
    """The config's `optimizer` group with epochs turned into steps; hashable."""

    name: str
    learning_rate: float
    momentum: float
    nesterov: bool
    rms_decay: float
    epsilon: float
    schedule: str
    decay_rate: float
    decay_steps: int
    warmup_steps: int
    total_steps: int
    weight_decay: float
    clip_norm: float | None

    def learning_rate_at(self) -> optax.Schedule:
        """The learning rate of step 0, 1, …; the first `warmup_steps` rise linearly from zero."""
        after_warmup = max(1, self.total_steps - self.warmup_steps)
        main = {
            "constant": optax.constant_schedule(self.learning_rate),
            # In stairs, as "0.94 every 2 epochs" says; counted from the end of the warm-up.
            "exponential": optax.exponential_decay(
                self.learning_rate, self.decay_steps, self.decay_rate, staircase=True
            ),
            "cosine": optax.cosine_decay_schedule(self.learning_rate, after_warmup),
        }[self.schedule]
        if not self.warmup_steps:
            return main
        rise = optax.linear_schedule(0.0, self.learning_rate, self.warmup_steps)
        return optax.join_schedules([rise, main], [self.warmup_steps])

    def transformation(self) -> optax.GradientTransformation:
        """Clip, add the L2 gradient, then SGD or RMSprop with momentum.

        L2 is added to the gradient before momentum, as a penalty in the loss would be (not
        decoupled), and only for kernels: the paper does not say for which parameters; biases and
        batch normalization's scales are left alone, as usual.
        """
        steps = []
        if self.clip_norm is not None:
            steps.append(optax.clip_by_global_norm(self.clip_norm))
        if self.weight_decay:
            steps.append(optax.add_decayed_weights(self.weight_decay, mask=_kernels))
        scale = optax.scale_by_learning_rate(self.learning_rate_at())
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
