"""Ahead-of-time compilation of a run's steps from its config, and the compiler's figures on them.

The programs are those that training runs, compiled for the chips of a `Topology`; no data is read
and nothing is executed.
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
from xception_jax.planning.hbm import hbm_bytes
from xception_jax.planning.topology import Topology, needed_and_available
from xception_jax.training.compile import lower_evaluation_step, lower_train_steps, shapes_of
from xception_jax.training.initial_weights import read_initial_weights
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
    """A step that is traced and lowered, but not compiled yet.

    Attributes:
        lowered: the lowered program.
        rows: number of rows of the batch that it computes on at a time, on all chips together.
        state: shapes of the arrays of the run's state.
        loop_of_steps: whether the program is a loop over steps, of which one is to be counted.
    """

    lowered: jax.stages.Lowered
    rows: int
    state: frozenset[tuple[int, ...]]
    loop_of_steps: bool = False


@dataclass(frozen=True)
class Traffic:
    """All collectives of one kind in a program.

    Attributes:
        kind: kind of the collectives, such as "all-reduce".
        count: number of arrays.
        bytes: size of all arrays.
        sent_bytes: number of bytes that each device sends at least.
    """

    kind: str
    count: int
    bytes: int
    sent_bytes: float


@dataclass(frozen=True)
class Figures:
    """The compiler's figures on a program, per chip.

    Attributes:
        memory_bytes: HBM that the program needs.
        compile_seconds: processor time of compilation, on the machine that compiled it.
        fits: whether the chip has enough HBM; if not, the figures below are None or empty.
        flops: floating-point operations of a step.
        hbm_bytes: bytes that a step reads and writes in HBM, see `planning.hbm`.
        accessed_bytes: the compiler's own count, in which the memory on the chip is another part.
        traffic: collectives of a step by kind.
        gathered: descriptions of collectives that gather the batch, of which there should be none.
        loops: number of loops inside a step. The compiler counts one iteration of each, so that
            `flops`, both numbers of bytes and `traffic` are too low if there are any.
    """

    memory_bytes: float
    compile_seconds: float
    fits: bool = True
    flops: float | None = None
    hbm_bytes: float | None = None
    accessed_bytes: float | None = None
    traffic: tuple[Traffic, ...] = ()
    gathered: tuple[str, ...] = ()
    loops: int = 0


def lower_training(config: Config, info: DatasetInfo, layout: Layout) -> LoweredStep:
    """Lowers the training step of a run that is not packed.

    Raises:
        InputError: the run cannot be built; see `require_trainable`.
    """
    require_trainable(config, info, layout.mesh)
    read_initial_weights([config], info, [])
    step_spec, batch = make_step_spec(config, info), config.train.batch_size
    device_data = _device_data(config, info, "train")
    steps = steps_per_dispatch(config, layout.mesh, device_data=bool(device_data))
    rows = _index(steps, batch) if device_data else _images(info, steps, batch)
    lowered = lower_train_steps(step_spec, layout, shapes_of(device_data), shapes_of(rows))
    microbatch = batch // config.train.accumulation_steps
    return LoweredStep(lowered, microbatch, _state_shapes(step_spec), loop_of_steps=steps > 1)


def lower_evaluation(config: Config, info: DatasetInfo, layout: Layout) -> LoweredStep:
    """Lowers the evaluation step of a run.

    Raises:
        InputError: the run cannot be built; see `require_trainable`.
    """
    require_trainable(config, info, layout.mesh)
    step_spec = make_step_spec(config, info)
    batch = evaluation_batch_size(config, layout)
    device_data = _device_data(config, info, "valid")
    rows = _index(batch) if device_data else _index(batch) | _images(info, batch)
    lowered = lower_evaluation_step(step_spec, layout, shapes_of(device_data), shapes_of(rows))
    return LoweredStep(lowered, batch, _state_shapes(step_spec))


def _device_data(config: Config, info: DatasetInfo, split: str) -> Shapes:
    """Shapes of the data set's arrays on every device; see `Pipeline.device_data`."""
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


def _state_shapes(step_spec: StepSpec) -> frozenset[tuple[int, ...]]:
    state = jax.eval_shape(partial(step_spec.init, 0))
    return frozenset(tuple(leaf.shape) for leaf in jax.tree.leaves(state))


def compile_figures(step: LoweredStep, topology: Topology) -> Figures:
    """Compiles a step, which can take minutes, and collects the compiler's figures on it."""
    start = time.process_time()
    try:
        compiled = step.lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        memory = needed_and_available(str(error))
        if memory is None:
            raise
        return Figures(memory[0], time.process_time() - start, fits=False)
    seconds = time.process_time() - start
    text, cost = compiled.as_text() or "", _mapping(compiled.cost_analysis())
    collectives = read_collectives(text, len(topology.devices))
    memory_bytes = _memory_bytes(compiled.memory_analysis())
    return Figures(
        memory_bytes=memory_bytes,
        compile_seconds=seconds,
        fits=memory_bytes <= topology.memory_bytes,
        flops=float(cost["flops"]),
        hbm_bytes=float(hbm_bytes(text)),
        accessed_bytes=float(cost["bytes accessed"]),
        traffic=tuple(_by_kind(collectives)),
        gathered=tuple(map(str, gathered_rows(collectives, step.rows, step.state))),
        loops=len(_LOOP.findall(text)) - step.loop_of_steps,
    )


def _mapping(cost: Any) -> dict[str, float]:
    """The cost analysis as a dictionary; some backends return a list with one."""
    return dict(cost[0] if isinstance(cost, list) else cost)


def _memory_bytes(analysis: Any) -> float:
    return float(
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
        + analysis.temp_size_in_bytes
        + analysis.generated_code_size_in_bytes
    )


def _by_kind(collectives: list[Collective]) -> Iterator[Traffic]:
    for kind in sorted({collective.kind for collective in collectives}):
        same = [collective for collective in collectives if collective.kind == kind]
        sent_bytes = sum(collective.sent_bytes for collective in same)
        yield Traffic(kind, len(same), sum(collective.bytes for collective in same), sent_bytes)
