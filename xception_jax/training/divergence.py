"""Where a step that was not finite went wrong: that one step again, with a look at every module.

The step itself only says whether it was finite. A run that was not keeps the state it had before
it, and the batch and all draws are functions of the step, so it can be taken again at leisure.
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
from xception_jax.runtime.watching import all_finite, watched
from xception_jax.training.setup import make_step_spec
from xception_jax.training.sharding import DATA_AXIS, REPLICATED, Layout, make_mesh, replicate
from xception_jax.training.state import Hyperparameters, TrainState, hyperparameters
from xception_jax.training.step import Batch, StepSpec, gradients_of, training_rows


@dataclass(frozen=True)
class Origin:
    """What was not finite first, in the order of the computation.

    Attributes:
        module: its path and class; None where it is no module's, or was not found.
        what: "output", "statistics" or "gradient" of that module; or what else it was.
    """

    module: str | None
    what: str

    def __str__(self) -> str:
        return self.what if self.module is None else f"{self.what} of {self.module}"


def find_origin(config: Config, pipeline: Pipeline, state: TrainState) -> Origin:
    """What is not finite first in the step after `state`; never raises.

    Compiled by itself, so in another order of rounding than the run's own step: a step that only
    just overflowed can come out finite here, which is said as well.

    Args:
        config: of the run.
        pipeline: of the run.
        state: before the step.
    """
    try:
        return _find_origin(config, pipeline, jax.device_get(state))
    except Exception as error:  # what the run ends as must not depend on this
        return Origin(None, f"cannot be found ({type(error).__name__})")


def _find_origin(config: Config, pipeline: Pipeline, state: TrainState) -> Origin:
    layout = Layout(make_mesh())
    kept = replace(config, model=replace(config.model, rematerialize=False))
    step_spec = make_step_spec(kept, pipeline.info)
    hparams = hyperparameters(config)
    step, names = int(state.step), list[tuple[str | None, str]]()
    taken = next(iter(pipeline.train_batches(step)))
    if device_data := pipeline.device_data.get("train"):
        taken = {name: values[taken["index"]] for name, values in device_data.items()}
    dealt = layout.interleave_shards(
        {name: rows[None] for name, rows in taken.items()}, step_spec.consecutive_parts
    )
    look = jax.shard_map(
        partial(_look, step_spec, names),
        mesh=layout.mesh,
        in_specs=(REPLICATED, REPLICATED, layout.shared_batch_spec),
        out_specs=REPLICATED,
        check_vma=False,
    )
    placed = replicate((hparams, state), layout.mesh)
    finite = jax.jit(look)(
        *placed,
        layout.put({name: rows[0] for name, rows in dealt.items()}, layout.shared_batch_spec),
    )
    for (module, what), good in zip(names, jax.device_get(finite), strict=True):
        if not good:
            return Origin(module, what)
    return Origin(None, "nothing when the step is taken again")


def _look(
    step_spec: StepSpec,
    names: list[tuple[str | None, str]],
    hparams: Hyperparameters,
    state: TrainState,
    batch: Batch,
) -> Array:
    """Whether each of `names`, which is filled in the order of the computation, is finite."""
    rows = training_rows(step_spec, hparams, state.step, {}, batch)
    parts, batch_stats, finite = step_spec.accumulation_steps, state.batch_stats, list[Any]()
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), rows)
    total = jax.tree.map(jnp.zeros_like, state.parameters)
    for number in range(parts):
        part = {name: values[number] for name, values in split.items()}
        looks = _forward(step_spec, hparams, state.parameters, batch_stats, part)
        gradients, batch_stats, sums = gradients_of(
            step_spec, hparams, state.parameters, batch_stats, part
        )
        looks.append((None, "the loss", all_finite(sums["loss"])))
        for module, what, good in looks + _backward(gradients, looks):
            names.append((module, what))
            finite.append(good)
        total = jax.tree.map(jnp.add, total, gradients)
    norm = optax.tree.norm(jax.tree.map(lambda x: lax.pmean(x / parts, DATA_AXIS), total))
    names.append((None, "the norm of the gradient"))
    return lax.pmin(jnp.array([*finite, all_finite(norm)], jnp.int32), DATA_AXIS)


Looks = list[tuple[str | None, str, Any]]


def _forward(
    step_spec: StepSpec,
    hparams: Hyperparameters,
    parameters: Params,
    batch_stats: Params,
    rows: Batch,
) -> Looks:
    model = step_spec.model.bind(parameters, batch_stats, hparams.activation_index)
    dropout = {"dropout_keys": rows["dropout"], "dropout_rate": hparams.dropout}
    with watched(model) as looks:
        model(rows["image"], train=True, **(dropout if step_spec.dropout else {}))
    return list(looks)


def _backward(gradients: Params, looks: Looks) -> Looks:
    """The gradients of the modules that were looked at, the last module's first."""
    found: Looks = []
    for name, what, _ in reversed(looks):
        if name is not None and what == "output":
            path = name.rpartition(" ")[0]
            hparams = [value for key, value in gradients.items() if key.rpartition("/")[0] == path]
            if hparams:
                found.append((name, "gradient", all_finite(hparams)))
    return found
