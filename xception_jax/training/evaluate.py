"""Evaluation of states on a split: every example counted once, on the averaged weights."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from xception_jax.data import Pipeline
from xception_jax.training.compile import compile_evaluation_step, shapes_of
from xception_jax.training.objective import Task
from xception_jax.training.sharding import Layout, replicate
from xception_jax.training.state import Hyperparameters, TrainState
from xception_jax.training.step import StepSpec

_BATCHES_IN_FLIGHT = 2


@dataclass(frozen=True)
class Evaluation:
    """What a model said of each example of a split, in the split's order.

    Attributes:
        examples: arrays [n, …] by name: `index`, and what the task notes (`Task.outputs`).
        task: of the model.
    """

    examples: dict[str, np.ndarray]
    task: Task

    def metrics(self) -> dict[str, float]:
        """Of the split, by name; see `Task.metrics`."""
        return self.task.metrics(self.examples)


class Evaluator:
    """Evaluates states of one program, of a run or of a pack, on the splits of one pipeline.

    Args:
        step_spec: of the states.
        layout: of the states.
        hparams: the runs' hyperparameters, laid out in the same way.
        pipeline: of any of the runs.
        batch_size: examples a step, of each run.
        alive: told of every batch that is done.
    """

    def __init__(
        self,
        step_spec: StepSpec,
        layout: Layout,
        hparams: Hyperparameters,
        pipeline: Pipeline,
        batch_size: int,
        *,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._alive = alive
        self._program, self._layout, self._own = step_spec, layout, hparams
        self._pipeline, self._batch_size = pipeline, batch_size
        self._resident: dict[str, Any] = {}

    def __call__(self, state: TrainState, split: str) -> list[Evaluation]:
        """For each slot every readable example of `split` once; padding is thrown away."""
        if split not in self._resident:
            arrays = self._pipeline.device_data.get(split, {})
            self._resident[split] = replicate(arrays, self._layout.mesh)
        parts = list(self._evaluate(state, split, self._resident[split]))
        whole = {name: np.concatenate([p[name] for p in parts], axis=1) for name in parts[0]}
        slots = self._layout.slots or 1
        return [
            Evaluation({name: values[slot] for name, values in whole.items()}, self._program.task)
            for slot in range(slots)
        ]

    def _evaluate(
        self, state: TrainState, split: str, device_data: dict[str, jax.Array]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Batch by batch, fetched late: devices do not wait for the host, nor batches pile up.

        Yields:
            `index` and what the task notes, [slots, n, …].
        """
        parameters = self._layout.replicate(state.averages or state.parameters)
        dispatched: deque[tuple[np.ndarray, np.ndarray, dict[str, jax.Array]]] = deque()
        for batch in self._pipeline.eval_batches(split, self._batch_size):
            mask, index = batch.pop("mask"), batch["index"]
            rows = self._layout.put(batch, self._layout.shared_batch_spec)
            step = compile_evaluation_step(
                self._program, self._layout, shapes_of(device_data), shapes_of(rows)
            )
            values = step(parameters, state.batch_stats, self._own, device_data, rows)
            dispatched.append((mask, index, values))
            if len(dispatched) > _BATCHES_IN_FLIGHT:
                yield self._fetch(*dispatched.popleft())
        for entry in dispatched:
            yield self._fetch(*entry)

    def _fetch(
        self, mask: np.ndarray, index: np.ndarray, values: dict[str, jax.Array]
    ) -> dict[str, np.ndarray]:
        if jax.process_count() > 1:  # each has rows of its own: put together, they are in order
            mask, index, values = process_allgather((mask, index, values), tiled=True)
        fetched = jax.device_get(values)
        self._alive()
        if self._layout.slots is None:
            fetched = {name: value[None] for name, value in fetched.items()}
        slots = self._layout.slots or 1
        indices = np.broadcast_to(index[mask], (slots, int(mask.sum())))
        return {"index": indices} | {name: value[:, mask] for name, value in fetched.items()}
