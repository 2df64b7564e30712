"""Evaluation of a split: every example counts once, with averaged weights if averages are kept."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from xception_jax.data import Batch, Pipeline
from xception_jax.data.reading import require_readable
from xception_jax.training.compile import compile_evaluation_step, shapes_of
from xception_jax.training.objective import Task
from xception_jax.training.sharding import Layout, replicate
from xception_jax.training.state import Hyperparameters, TrainState
from xception_jax.training.step import StepSpec

_BATCHES_IN_FLIGHT = 2


@dataclass(frozen=True)
class Evaluation:
    """The outputs of a model for each example of a split, in the split's order.

    Attributes:
        examples: arrays [n, …] by name: `index`, and the task's `outputs`.
        task: the task of the model.
    """

    examples: dict[str, np.ndarray]
    task: Task

    def metrics(self) -> dict[str, float]:
        """The task's `metrics` of the split, by name."""
        return self.task.metrics(self.examples)


def evaluation_arrays(pipeline: Pipeline, split: str) -> Batch:
    """A split's arrays for the devices, padded to the rows of the largest split evaluated.

    So one program evaluates all splits. No batch holds the index of a row that was added.

    Args:
        pipeline: the pipeline of a run; one that streams has no such arrays.
        split: "train", "valid" or "test".
    """
    in_memory = pipeline.device_data
    if split not in in_memory:
        return {}
    rows = max(len(in_memory[name]["label"]) for name in {split, "valid", "test"} & {*in_memory})
    return {
        name: np.pad(values, [(0, rows - len(values)), *[(0, 0)] * (values.ndim - 1)])
        for name, values in in_memory[split].items()
    }


def compile_evaluation(
    step_spec: StepSpec, layout: Layout, pipeline: Pipeline, batch_size: int
) -> None:
    """Compiles the evaluation step for a data set in memory; does nothing for one that streams.

    Args:
        step_spec: what is fixed in the compiled step of the runs.
        layout: how the arrays of the runs lie on the devices of this process.
        pipeline: the pipeline of any of the runs.
        batch_size: examples per step, of each run.
    """
    if arrays := evaluation_arrays(pipeline, "valid"):
        batch = next(pipeline.eval_batches("valid", batch_size))
        del batch["mask"]
        compile_evaluation_step(step_spec, layout, shapes_of(arrays), shapes_of(batch))


class Evaluator:
    """Evaluates states of a run or a pack on the splits of one pipeline.

    Args:
        step_spec: what is fixed in the compiled step of the runs.
        layout: how the arrays of the runs lie on the devices.
        hparams: the runs' hyperparameters, on the devices.
        pipeline: the pipeline of any of the runs.
        batch_size: examples per step, of each run.
        alive: called after every batch.
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
        self._step_spec, self._layout, self._hparams = step_spec, layout, hparams
        self._pipeline, self._batch_size = pipeline, batch_size
        self._device_data: dict[str, Any] = {}

    def compile(self) -> None:
        """Compiles the step before it is needed, see `compile_evaluation`."""
        compile_evaluation(self._step_spec, self._layout, self._pipeline, self._batch_size)

    def __call__(self, state: TrainState, split: str) -> list[Evaluation]:
        """An `Evaluation` for each slot: every readable example of `split` once, no padding.

        Raises:
            InputError: the split has no readable example.
        """
        if split not in self._device_data:
            arrays = evaluation_arrays(self._pipeline, split)
            self._device_data[split] = replicate(arrays, self._layout.mesh)
        batches = list(self._evaluate(state, split, self._device_data[split]))
        readable = sum(batch["index"].shape[1] for batch in batches)
        require_readable(self._pipeline.info.name, split, readable)
        examples = {name: np.concatenate([b[name] for b in batches], axis=1) for name in batches[0]}
        task, slots = self._step_spec.task, self._layout.slots or 1
        return [
            Evaluation({name: values[slot] for name, values in examples.items()}, task)
            for slot in range(slots)
        ]

    def _evaluate(
        self, state: TrainState, split: str, device_data: dict[str, jax.Array]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Evaluates batch by batch, and fetches the outputs of each some batches later.

        So the devices do not wait for the host, nor do batches pile up on them.

        Yields:
            The examples of a batch: `index` and the outputs of the task, [slots, n, …].
        """
        parameters, batch_stats = self._layout.replicate(state.evaluated())
        dispatched: deque[tuple[np.ndarray, np.ndarray, dict[str, jax.Array]]] = deque()
        for batch in self._pipeline.eval_batches(split, self._batch_size):
            mask, index = batch.pop("mask"), batch["index"]
            rows = self._layout.put(batch, self._layout.shared_batch_spec)
            step = compile_evaluation_step(
                self._step_spec, self._layout, shapes_of(device_data), shapes_of(rows)
            )
            outputs = step(parameters, batch_stats, self._hparams, device_data, rows)
            dispatched.append((mask, index, outputs))
            if len(dispatched) > _BATCHES_IN_FLIGHT:
                yield self._fetch(*dispatched.popleft())
        for entry in dispatched:
            yield self._fetch(*entry)

    def _fetch(
        self, mask: np.ndarray, index: np.ndarray, outputs: dict[str, jax.Array]
    ) -> dict[str, np.ndarray]:
        if jax.process_count() > 1:  # each has its own rows: in the order of processes, all of them
            mask, index, outputs = process_allgather((mask, index, outputs), tiled=True)
        fetched = jax.device_get(outputs)
        self._alive()
        if self._layout.slots is None:
            fetched = {name: values[None] for name, values in fetched.items()}
        slots = self._layout.slots or 1
        indices = np.broadcast_to(index[mask], (slots, int(mask.sum())))
        return {"index": indices} | {name: values[:, mask] for name, values in fetched.items()}
