"""A profiler trace of some training steps, for TensorBoard or Perfetto."""

from pathlib import Path
from typing import Any

import jax


class StepProfiler:
    """Traces the steps from the first to the last of `train.profile_steps`, if there are any.

    Args:
        steps: first and last step, counted from 1; empty: no trace.
        directory: directory that the trace is written to.
    """

    def __init__(self, steps: tuple[int, ...], directory: Path) -> None:
        self._steps, self._directory = steps, directory
        self._tracing = self._done = False

    def before(self, step: int) -> None:
        """Starts the trace if the next step is the first of the range or later."""
        if self._steps and not (self._tracing or self._done) and step + 1 >= self._steps[0]:
            jax.profiler.start_trace(self._directory)
            self._tracing = True

    def after(self, step: int, results: Any) -> None:
        """Ends the trace if `step` was the last of the range, once its results are there."""
        if self._tracing and step >= self._steps[1]:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """Ends the trace if it is still going on."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing, self._done = False, True
