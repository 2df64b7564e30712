"""Search for the module in which a step first was not finite, by taking that step again.

The step itself only says whether it was finite. A run that diverged keeps the state before that
step, and the batch and all draws are functions of the step, so it can be taken again.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from xception_jax.config import Config
from xception_jax.data import Pipeline
from xception_jax.models.functional import Params
from xception_jax.runtime import hosts
from xception_jax.runtime.finite_checks import all_finite, checked_calls
from xception_jax.training.setup import make_step_spec
from xception_jax.training.sharding import DATA_AXIS, REPLICATED, Layout, make_mesh, replicate
from xception_jax.training.state import Hyperparameters, TrainState, hyperparameters
from xception_jax.training.step import Arrays, StepSpec, gradients_of, training_rows


@dataclass(frozen=True)
class Origin:
    """The first value that was not finite, in the order of the computation.

    Attributes:
        module: path and class of the module it belongs to; None where it belongs to none, or was
            not found.
        what: "output", "statistics" or "gradient" of that module; without a module, the value in
            words.
    """

    module: str | None
    what: str

    def __str__(self) -> str:
        return self.what if self.module is None else f"{self.what} of {self.module}"


def find_origin(config: Config, pipeline: Pipeline, state: TrainState) -> Origin:
    """The first value that is not finite in the step after `state`; never raises.

    The step is compiled anew, so it is rounded differently from the run's own: one that only just
    overflowed can be finite here, and the origin then says so.

    Args:
        config: config of the run.
        pipeline: the run's data.
        state: the state before the step.
    """
    try:
        return _find_origin(config, pipeline, jax.device_get(state))
    except Exception as error:  # the run's status must not depend on this
        return Origin(None, f"cannot be found ({type(error).__name__})")


def _find_origin(config: Config, pipeline: Pipeline, state: TrainState) -> Origin:
    layout = Layout(make_mesh())
    config = replace(config, model=replace(config.model, rematerialize=False))
    step_spec = make_step_spec(config, pipeline.info)
    origins: list[Origin] = []
    # An image that one process cannot read must end the search on all.
    batch = hosts.all_or_raise(lambda: next(iter(pipeline.train_batches(int(state.step)))))
    if device_data := pipeline.device_data.get("train"):
        batch = {name: values[batch["index"]] for name, values in device_data.items()}
    interleaved = layout.interleave_shards(
        {name: rows[None] for name, rows in batch.items()}, step_spec.consecutive_parts
    )
    check = jax.shard_map(
        partial(_check, step_spec, origins),
        mesh=layout.mesh,
        in_specs=(REPLICATED, REPLICATED, layout.shared_batch_spec),
        out_specs=REPLICATED,
        check_vma=False,
    )
    finite = jax.jit(check)(
        *replicate((hyperparameters(config), state), layout.mesh),
        layout.put({name: rows[0] for name, rows in interleaved.items()}, layout.shared_batch_spec),
    )
    for origin, is_finite in zip(origins, jax.device_get(finite), strict=True):
        if not is_finite:
            return origin
    return Origin(None, "nothing when the step is taken again")


def _check(
    step_spec: StepSpec,
    origins: list[Origin],
    hparams: Hyperparameters,
    state: TrainState,
    batch: Arrays,
) -> Array:
    """Fills `origins` in the order of the computation; returns whether each of them is finite."""
    rows = training_rows(step_spec, hparams, state.step, {}, batch)
    parts, batch_stats, finite = step_spec.accumulation_steps, state.batch_stats, list[Any]()
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), rows)
    total = jax.tree.map(jnp.zeros_like, state.parameters)
    for number in range(parts):
        part = {name: values[number] for name, values in split.items()}
        checks = _check_forward(step_spec, hparams, state.parameters, batch_stats, part)
        gradients, current_stats, sums = gradients_of(
            step_spec, hparams, state.parameters, batch_stats, part
        )
        batch_stats = step_spec.model.move_stats(batch_stats, current_stats)
        checks.append((None, "the loss", all_finite(sums["loss"])))
        for module, what, is_finite in checks + _check_gradients(gradients, checks):
            origins.append(Origin(module, what))
            finite.append(is_finite)
        total = jax.tree.map(jnp.add, total, gradients)
    norm = optax.tree.norm(jax.tree.map(lambda x: lax.pmean(x / parts, DATA_AXIS), total))
    origins.append(Origin(None, "the norm of the gradient"))
    return lax.pmin(jnp.array([*finite, all_finite(norm)], jnp.int32), DATA_AXIS)


# The module, what of it was checked, and whether that is finite.
Checks = list[tuple[str | None, str, Any]]


def _check_forward(
    step_spec: StepSpec,
    hparams: Hyperparameters,
    parameters: Params,
    batch_stats: Params,
    rows: Arrays,
) -> Checks:
    """Checks of the outputs and statistics of all modules, in the order of their calls."""
    model = step_spec.model.bind(parameters, batch_stats, hparams.activation_index)
    dropout = {}
    if step_spec.dropout:
        dropout = {"dropout_keys": rows["dropout"], "dropout_rate": hparams.dropout}
    with checked_calls(model) as checks:
        model(rows["image"], train=True, **dropout)
    return list(checks)


def _check_gradients(gradients: Params, forward: Checks) -> Checks:
    """Checks of the gradients of the modules in `forward`, the last module's first."""
    checks: Checks = []
    for name, what, _ in reversed(forward):
        if name is not None and what == "output":
            path = name.rpartition(" ")[0]
            of_module = [x for key, x in gradients.items() if key.rpartition("/")[0] == path]
            if of_module:
                checks.append((name, "gradient", all_finite(of_module)))
    return checks
