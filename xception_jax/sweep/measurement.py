"""Measurement of the time and memory that the steps of a run or a pack take."""

import os
import time
from dataclasses import dataclass
from math import inf

import jax
import jax.numpy as jnp
import numpy as np

from xception_jax.config import Config
from xception_jax.data import Pipeline
from xception_jax.training.compile import (
    compile_train_steps,
    initial_state,
    place_states,
    shapes_of,
)
from xception_jax.training.setup import make_step_spec, steps_per_dispatch
from xception_jax.training.sharding import Layout, make_mesh, replicate
from xception_jax.training.state import TrainState, hyperparameters

_SECONDS = 1.0
_SHARE_OF_MEMORY = 0.6


@dataclass(frozen=True)
class Measurement:
    """The time and memory that a compiled program takes.

    Attributes:
        images_per_second: training speed of all runs together; None: not timed.
        compile_seconds: time of compilation; near zero where an earlier process compiled it.
        fits: whether the program fits into the memory that is free.
    """

    images_per_second: float | None
    compile_seconds: float
    fits: bool


def measure(
    config: Config,
    pipeline: Pipeline,
    slots: int | None,
    activations: tuple[str, ...],
    *,
    timed: bool,
) -> Measurement:
    """Compiles the program of a run or a pack, as training will, and times some steps.

    Args:
        config: config of any of the runs.
        pipeline: data of that run.
        slots: slots of the pack; None: a run alone.
        activations: the intermediate activations of the pack.
        timed: whether to take steps, for about a second, or compile only.
    """
    layout = Layout(make_mesh(slots=slots), slots)
    step_spec = make_step_spec(config, pipeline.info, activations)
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
        compile_start = time.perf_counter()
        compiled = compile_train_steps(step_spec, layout, shapes_of(device_data), shapes_of(rows))
        compile_seconds = time.perf_counter() - compile_start
        fits = _needed_bytes(compiled) <= _SHARE_OF_MEMORY * _free_bytes(layout)
        if not (fits and timed):
            return Measurement(None, compile_seconds, fits)
        hparams = layout.stack([hyperparameters(config, activations)] * count)
        active = layout.stack([np.bool_(True)] * count)
        state = place_states(step_spec, layout, [initial_state(step_spec, 0)] * count)
        steps = replicate(jnp.int32(most), layout.mesh)

        def take_steps(state: TrainState) -> TrainState:
            after, _ = compiled(state, active, device_data, rows, steps, hparams)
            ready: TrainState = jax.block_until_ready(after)
            return ready

        state = take_steps(state)
        calls, first_timed = 0, time.perf_counter()
        while calls < 2 or time.perf_counter() - first_timed < _SECONDS:
            state = take_steps(state)
            calls += 1
        images = calls * most * count * config.train.batch_size
        speed = images / (time.perf_counter() - first_timed)
        return Measurement(speed, compile_seconds, fits=True)
    except jax.errors.JaxRuntimeError:  # out of memory, in spite of the estimate
        return Measurement(None, time.perf_counter() - start, fits=False)


def _needed_bytes(compiled: jax.stages.Compiled) -> float:
    """The memory that one device needs to run a program; 0 where the backend does not say."""
    memory = compiled.memory_analysis()
    if memory is None:
        return 0
    return float(
        memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    )


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
