"""The steps of a run, compiled from its config alone, and what the compiler says of them.

These are the programs that training runs, for chips of a `Topology`; no data are read and nothing
is run.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from xception_jax.config import Config
from xception_jax.data import DatasetInfo, lies_in_memory
from xception_jax.planning.collectives import Collective, gathered_rows, read_collectives
from xception_jax.planning.topology import Topology, needed_and_available
from xception_jax.training.compile import lower_evaluation_step, lower_train_steps, shapes_of
from xception_jax.training.setup import (
    evaluation_batch_size,
    make_step_spec,
    require_trainable,
    steps_per_dispatch,
)
from xception_jax.training.sharding import Layout
from xception_jax.training.step import StepSpec

_LOOP = re.compile(r"^\s*%?\S+ = .* while\(", re.MULTILINE)
Shapes = dict[str, jax.ShapeDtypeStruct]


@dataclass(frozen=True)
class LoweredStep:
    """A step that is traced and not compiled yet.

    Attributes:
        step_spec: that it is.
        rows: of the batch that it computes on at a time, on all chips.
        state: shapes of the arrays of the run's state.
        loop_of_steps: whether it takes several steps, as a loop: one turn is what to count.
    """

    step_spec: jax.stages.Lowered
    rows: int
    state: frozenset[tuple[int, ...]]
    loop_of_steps: bool = False


@dataclass(frozen=True)
class Traffic:
    """All collectives of one kind in a program.

    Attributes:
        kind: "all-reduce", …
        count: how many arrays.
        bytes: of all of them.
        sent_bytes: that each device has to send at least.
    """

    kind: str
    count: int
    bytes: int
    sent_bytes: float


@dataclass(frozen=True)
class Figures:
    """Of a program on one chip, by the compiler's word.

    Attributes:
        memory_bytes: of HBM that it needs.
        compile_seconds: of processor time, on the machine that compiled it.
        fits: whether the chip has as much; what follows is None or empty where it has not.
        flops: of a step.
        accessed_bytes: read and written in HBM by a step.
        traffic: by kind.
        gathered: what devices send each other of their batch, described; there should be nothing.
        loops: inside of a step. The compiler counts one turn of each, so that `flops`,
            `accessed_bytes` and `traffic` are too low where there are any.
    """

    memory_bytes: float
    compile_seconds: float
    fits: bool = True
    flops: float | None = None
    accessed_bytes: float | None = None
    traffic: tuple[Traffic, ...] = ()
    gathered: tuple[str, ...] = ()
    loops: int = 0


def lower_training(config: Config, info: DatasetInfo, layout: Layout) -> LoweredStep:
    """The training step of a run alone.

    Raises:
        InputError: see `require_trainable`.
    """
    require_trainable(config, info, layout.mesh)
    step_spec, batch = make_step_spec(config, info), config.train.batch_size
    device_data = _resident(config, info, "train")
    steps = steps_per_dispatch(config, layout.mesh, device_data=bool(device_data))
    rows = _index(steps, batch) if device_data else _images(info, steps, batch)
    lowered = lower_train_steps(step_spec, layout, shapes_of(device_data), shapes_of(rows))
    part = batch // config.train.accumulation_steps
    return LoweredStep(lowered, part, _state(step_spec), loop_of_steps=steps > 1)


def lower_evaluation(config: Config, info: DatasetInfo, layout: Layout) -> LoweredStep:
    """The step of its validations.

    Raises:
        InputError: see `require_trainable`.
    """
    require_trainable(config, info, layout.mesh)
    step_spec, batch = make_step_spec(config, info), evaluation_batch_size(config, layout)
    device_data = _resident(config, info, "valid")
    rows = _index(batch) if device_data else _index(batch) | _images(info, batch)
    lowered = lower_evaluation_step(step_spec, layout, shapes_of(device_data), shapes_of(rows))
    return LoweredStep(lowered, batch, _state(step_spec))


def _resident(config: Config, info: DatasetInfo, split: str) -> Shapes:
    """The arrays that lie on every device: see `Pipeline.device_data`."""
    data = config.data
    if lies_in_memory(info, pipeline=data.pipeline, augmentation=data.augmentation):
        return _images(info, info.examples[split])
    return {}


def _index(*shape: int) -> Shapes:
    return {"index": jax.ShapeDtypeStruct(shape, jnp.int32)}


def _images(info: DatasetInfo, *shape: int) -> Shapes:
    label = jax.ShapeDtypeStruct(shape, jnp.int32)
    if info.multi_label:
        label = jax.ShapeDtypeStruct((*shape, info.num_classes), jnp.uint8)
    return {"image": jax.ShapeDtypeStruct((*shape, *info.image_shape), jnp.uint8), "label": label}


def _state(step_spec: StepSpec) -> frozenset[tuple[int, ...]]:
    state = jax.eval_shape(partial(step_spec.init, 0))
    return frozenset(tuple(leaf.shape) for leaf in jax.tree.leaves(state))


def compile_figures(step: LoweredStep, topology: Topology) -> Figures:
    """Compiles a step, which can take minutes, and reads what the compiler says of it."""
    began = time.process_time()
    try:
        compiled = step.step_spec.compile()
    except jax.errors.JaxRuntimeError as error:
        found = needed_and_available(str(error))
        if found is None:
            raise
        return Figures(found[0], time.process_time() - began, fits=False)
    seconds = time.process_time() - began
    text, cost = compiled.as_text() or "", _mapping(compiled.cost_analysis())
    collectives = read_collectives(text, len(topology.devices))
    needed = _needed(compiled.memory_analysis())
    return Figures(
        memory_bytes=needed,
        compile_seconds=seconds,
        fits=needed <= topology.memory_bytes,
        flops=float(cost["flops"]),
        accessed_bytes=float(cost["bytes accessed"]),
        traffic=tuple(_by_kind(collectives)),
        gathered=tuple(map(str, gathered_rows(collectives, step.rows, step.state))),
        loops=len(_LOOP.findall(text)) - step.loop_of_steps,
    )


def _mapping(cost: Any) -> dict[str, float]:
    """Some backends answer with a list of one."""
    return dict(cost[0] if isinstance(cost, list) else cost)


def _needed(found: Any) -> float:
    return float(
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
        + found.temp_size_in_bytes
        + found.generated_code_size_in_bytes
    )


def _by_kind(collectives: list[Collective]) -> Iterator[Traffic]:
    for kind in sorted({found.kind for found in collectives}):
        same = [found for found in collectives if found.kind == kind]
        sent = sum(found.sent_bytes for found in same)
        yield Traffic(kind, len(same), sum(found.bytes for found in same), sent)
