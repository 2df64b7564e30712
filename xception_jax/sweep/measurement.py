"""What a step of a run or a pack takes, found by taking a few."""

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
from xception_jax.training.state import hyperparameters

_SECONDS = 1.0
_SHARE_OF_MEMORY = 0.6


@dataclass(frozen=True)
class Measured:
    """What a program takes.

    Attributes:
        images_per_second: of all runs together; None: not timed.
        compile_seconds: near zero where it had been compiled before.
        fits: whether it takes no more memory than is there.
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
) -> Measured:
    """Compiles the program of a run alone (None) or a pack, as training will, and takes steps.

    Args:
        config: of any of the runs.
        pipeline: of that run.
        slots: of the pack.
        activations: of the pack.
        timed: take steps, for about a second; otherwise compile only.
    """
    layout = Layout(make_mesh(slots=slots), slots)
    step_spec = make_step_spec(config, pipeline.info, activations)
    most = steps_per_dispatch(config, layout.mesh, device_data=bool(pipeline.device_data))
    count = slots or 1
    batch = next(pipeline.train_batches(0))
    if slots is not None:
        batch = {name: np.stack([rows] * slots) for name, rows in batch.items()}
    began = time.perf_counter()
    try:
        steps = {name: np.stack([part] * most) for name, part in batch.items()}
        rows = layout.put(steps, layout.steps_spec)
        device_data = replicate(pipeline.device_data.get("train", {}), layout.mesh)
        start = time.perf_counter()
        step = compile_train_steps(step_spec, layout, shapes_of(device_data), shapes_of(rows))
        compile_seconds = time.perf_counter() - start
        fits = _bytes(step) <= _SHARE_OF_MEMORY * _free_bytes(layout)
        if not (fits and timed):
            return Measured(None, compile_seconds, fits)
        hparams = layout.stack([hyperparameters(config, activations)] * count)
        active = layout.stack([np.bool_(True)] * count)
        state = place_states(step_spec, layout, [initial_state(step_spec, 0)] * count)
        taken = replicate(jnp.int32(most), layout.mesh)
        state, _ = jax.block_until_ready(step(state, active, device_data, rows, taken, hparams))
        calls, start = 0, time.perf_counter()
        while calls < 2 or time.perf_counter() - start < _SECONDS:
            state, _ = jax.block_until_ready(step(state, active, device_data, rows, taken, hparams))
            calls += 1
        images = calls * most * count * config.train.batch_size
        return Measured(images / (time.perf_counter() - start), compile_seconds, fits=True)
    except jax.errors.JaxRuntimeError:  # out of memory, whatever was foreseen
        return Measured(None, time.perf_counter() - began, fits=False)


def _bytes(step: jax.stages.Compiled) -> float:
    """What one device needs to run it; 0 where the backend does not say."""
    found = step.memory_analysis()
    if found is None:
        return 0
    return float(
        found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes
    )


def _free_bytes(layout: Layout) -> float:
    """Of one device; on CPU, where all devices share it, of the machine."""
    device = layout.mesh.devices.flat[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return float(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # no such figure on this system
        return inf
    return pages / layout.mesh.devices.size
