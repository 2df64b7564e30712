"""Trials of a run or a pack: its program compiled as training will, its memory and its speed."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from math import inf

import jax
import jax.numpy as jnp
import numpy as np

from xception_jax.config import Config
from xception_jax.data import Pipeline
from xception_jax.runtime.allocator import is_memory_kept
from xception_jax.training.compile import (
    compile_initial_state,
    compile_together,
    compile_train_steps,
    initial_state,
    place_states,
    shapes_of,
)
from xception_jax.training.evaluate import compile_evaluation
from xception_jax.training.setup import evaluation_batch_size, make_step_spec, steps_per_dispatch
from xception_jax.training.sharding import Layout, make_mesh, replicate
from xception_jax.training.state import TrainState, hyperparameters

_SECONDS = 0.3  # of one timing; sizes are timed in turns, several times each
_SHARE_OF_MEMORY = 0.6
# A process comes to hold the scratch memory of a step more than once, since freed memory is kept
# (`keep_memory`). XLA:CPU says that a step's results are ready before it frees the step's scratch
# memory, so that the next step, in another thread, may allocate its own before that: seen with one
# device, the more often the busier the machine. And before glibc 2.39 (bug 30723), what is cut off
# an aligned block goes to a cache of the thread, so that the block is a few bytes too short for the
# next step once it is free. What comes of it depends on the moment: one to five blocks were seen
# with one device, two to five with two. So two for each device are an estimate, and no limit.
_SCRATCH_BLOCKS = 2


@dataclass(frozen=True)
class Trial:
    """A compiled program of a run or a pack, ready to be timed.

    Attributes:
        compile_seconds: time of compilation; near zero where an earlier process compiled it.
        memory_bytes: memory that training with it adds to the process, on all devices together.
        fits: whether that is free.
        time: takes steps for a third of a second; returns the images per second of all runs
            together, or None where memory runs out in spite of the forecast.
    """

    compile_seconds: float
    memory_bytes: float
    fits: bool
    time: Callable[[], float | None]


def prepare_trial(
    config: Config, pipeline: Pipeline, slots: int | None, activations: tuple[str, ...]
) -> Trial:
    """Compiles the programs of a run or a pack, as training will.

    Args:
        config: config of any of the runs.
        pipeline: data of that run.
        slots: slots of the pack; None: a run alone.
        activations: the intermediate activations of the pack.
    """
    layout = Layout(make_mesh(slots=slots), slots)
    step_spec = make_step_spec(config, pipeline.info, activations)
    batch_size = evaluation_batch_size(config, layout)
    most = steps_per_dispatch(config, layout.mesh, device_data=bool(pipeline.device_data))
    count = slots or 1
    batch = next(pipeline.train_batches(0))
    if slots is not None:
        batch = {name: np.stack([rows] * slots) for name, rows in batch.items()}
    start = time.perf_counter()
    try:
        batches = {name: np.stack([rows] * most) for name, rows in batch.items()}
        rows = layout.put(batches, layout.steps_spec)
        device_data = replicate(pipeline.device_data.get("train", {}), layout.mesh)
        start = time.perf_counter()
        shapes = shapes_of(device_data), shapes_of(rows)
        compiled = compile_together(
            layout,
            partial(compile_train_steps, step_spec, layout, *shapes),
            partial(compile_initial_state, step_spec),
            partial(compile_evaluation, step_spec, layout, pipeline, batch_size),
        )
    except jax.errors.JaxRuntimeError:  # out of memory
        return Trial(time.perf_counter() - start, inf, fits=False, time=lambda: None)
    compile_seconds = time.perf_counter() - start
    needed = _needed_bytes(compiled, layout)

    @cache
    def prepare() -> tuple[Callable[[TrainState], TrainState], list[TrainState]]:
        hparams = layout.stack([hyperparameters(config, activations)] * count)
        active = layout.stack([np.bool_(True)] * count)
        steps = replicate(jnp.int32(most), layout.mesh)

        def take_steps(state: TrainState) -> TrainState:
            after, _ = compiled(state, active, device_data, rows, steps, hparams)
            ready: TrainState = jax.block_until_ready(after)
            return ready

        state = place_states(step_spec, layout, [initial_state(step_spec, 0)] * count)
        return take_steps, [take_steps(state)]  # the first steps take longer

    def timed() -> float | None:
        try:
            take_steps, states = prepare()
            calls, start = 0, time.perf_counter()
            while not calls or time.perf_counter() - start < _SECONDS:
                states[0] = take_steps(states[0])
                calls += 1
        except jax.errors.JaxRuntimeError:  # out of memory, in spite of the forecast
            return None
        return calls * most * count * config.train.batch_size / (time.perf_counter() - start)

    devices = layout.mesh.devices.size
    fits = needed <= _SHARE_OF_MEMORY * _free_bytes(layout) * devices
    return Trial(compile_seconds, needed, fits, timed)


def _needed_bytes(compiled: jax.stages.Compiled, layout: Layout) -> float:
    """The memory that a program adds to the process; 0 where the backend does not say."""
    memory = compiled.memory_analysis()
    if memory is None:
        return 0
    on_cpu = layout.mesh.devices.flat[0].platform == "cpu"
    blocks = _SCRATCH_BLOCKS if on_cpu and is_memory_kept() else 1
    buffers = memory.argument_size_in_bytes + memory.output_size_in_bytes
    per_device = blocks * memory.temp_size_in_bytes + buffers - memory.alias_size_in_bytes
    return float(per_device * layout.mesh.devices.size)


def _free_bytes(layout: Layout) -> float:
    """The free memory of one device; on CPU its share of the machine's."""
    device = layout.mesh.devices.flat[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return float(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # no such figure on this system
        return inf
    return pages / layout.mesh.devices.size
