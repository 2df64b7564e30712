"""Evaluation of a state on a split: every example counted once, on the averaged weights."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from xception_jax.data import Pipeline
from xception_jax.training.mesh import replicate, shard_batch
from xception_jax.training.state import TrainState
from xception_jax.training.step import Program, compile_evaluation_step, shapes_of
from xception_jax.training.task import Task

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
    """Evaluates states of one program on the splits of one pipeline."""

    def __init__(self, program: Program, pipeline: Pipeline, mesh: Mesh, batch_size: int) -> None:
        self._program, self._pipeline, self._mesh = program, pipeline, mesh
        self._batch_size = batch_size
        self._resident: dict[str, Any] = {}

    def __call__(self, state: TrainState, split: str) -> Evaluation:
        """Every readable example of `split` once; padding is computed and thrown away."""
        if split not in self._resident:
            self._resident[split] = replicate(self._pipeline.resident.get(split, {}), self._mesh)
        parts = list(self._evaluate(state, split, self._resident[split]))
        examples = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Evaluation(examples, self._program.task)

    def _evaluate(
        self, state: TrainState, split: str, resident: dict[str, jax.Array]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Batch by batch, fetched late: devices do not wait for the host, nor batches pile up."""
        parameters = state.averages or state.parameters
        dispatched: deque[tuple[np.ndarray, np.ndarray, dict[str, jax.Array]]] = deque()
        for batch in self._pipeline.eval_batches(split, self._batch_size):
            mask, index = batch.pop("mask"), batch["index"]
            sharded = shard_batch(batch, self._mesh)
            step = compile_evaluation_step(
                self._program, self._mesh, shapes_of(resident), shapes_of(sharded)
            )
            dispatched.append((mask, index, step(parameters, state.statistics, resident, sharded)))
            if len(dispatched) > _BATCHES_IN_FLIGHT:
                yield _fetch(*dispatched.popleft())
        for entry in dispatched:
            yield _fetch(*entry)


def _fetch(
    mask: np.ndarray, index: np.ndarray, values: dict[str, jax.Array]
) -> dict[str, np.ndarray]:
    fetched = {name: value[mask] for name, value in jax.device_get(values).items()}
    return {"index": index[mask], **fetched}
