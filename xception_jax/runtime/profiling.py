"""A profiler trace of some training steps, for TensorBoard or Perfetto."""

from pathlib import Path
from typing import Any

import jax


class StepProfiler:
    """Traces the calls that take steps of the range `train.profile_steps`, if there are any.

    Args:
        steps: first and last step, counted from 1; empty: no trace.
        directory: directory that the trace is written to.
    """

    def __init__(self, steps: tuple[int, ...], directory: Path) -> None:
        self._steps, self._directory = steps, directory
        self._tracing = self._done = False

    def before(self, step: int, count: int) -> None:
        """Starts the trace if any of the `count` steps after `step` is in the range."""
        if not self._steps or self._tracing or self._done:
            return
        first, last = self._steps
        if step + count >= first and step < last:
            jax.profiler.start_trace(self._directory)
            self._tracing = True

    def after(self, step: int, results: Any) -> None:
        """Ends the trace at the last step of the range or later, once its results are there."""
        if self._tracing and step >= self._steps[1]:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """Ends the trace if it is still going on."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing, self._done = False, True
