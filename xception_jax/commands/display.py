"""Progress while runs train: a live line on a terminal, an occasional line elsewhere."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from xception_jax.json_values import as_real, as_text
from xception_jax.sweep.local import SweepProgress

_PLAIN_SECONDS = 15.0  # between two plain lines
_MEASURED_SECONDS = 3.0  # of training before the time left is estimated
# The metric of a task by the name to show; rows of training have no MAP@100.
_METRICS = {"map100": "MAP@100", "top1": "top-1"}


def duration(seconds: float) -> str:
    """Formats seconds as minutes, or hours and minutes: `75.2` -> "1:15"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Estimate:
    """Estimate of the time left, from the steps this process has taken and the time they took.

    That time includes evaluation and the start and end of runs, but not compilation, which only the
    first run of an arm needs.
    """

    def __init__(self) -> None:
        self._seconds, self._steps = 0.0, 0
        self._last: tuple[float, int] | None = None

    def __call__(self, event: SweepProgress) -> str | None:
        """The time left as text; None until there is enough to estimate it."""
        compiling = event.progress is not None and event.progress.phase == "compile"
        now, left = time.monotonic(), event.steps_left
        if self._last is not None:
            self._seconds += now - self._last[0]
            self._steps += max(0, self._last[1] - left)
        self._last = None if compiling else (now, left)
        if self._seconds < _MEASURED_SECONDS or not self._steps:
            return None
        return duration(self._seconds / self._steps * left)


def describe(event: SweepProgress, left: str | None) -> str:
    """The progress of the sweep as one line."""
    ending = f", {left} left" if left and event.steps_left else ""
    name = _name(event)
    if event.ended is not None:
        return f"{name}: {_outcome(event.ended)}{ending}"
    progress = event.progress
    if progress is None or progress.phase == "compile":
        return f"{name}: compiling{ending}"
    total = progress.epoch * progress.total_steps / max(1, progress.step)
    text = f"{name}: epoch {progress.epoch:.1f}/{total:.4g}"
    if progress.row is None:  # nothing is logged yet
        return text + ending
    row, speed = progress.row, progress.images_per_second
    text += f", {speed:,.0f} images/s" if speed else ""
    return f"{text}{ending}, {row['split']} {headline(row, digits=3)}"


def _name(event: SweepProgress) -> str:
    """Names the runs: `[2/15] relu seed 0`, or `[runs 1-5 of 15] none, relu, elu, seeds 0-1`."""
    first, last = event.numbers[0], event.numbers[-1]
    if len(event.numbers) == 1:
        number = f"[{first:>{len(str(event.runs))}}/{event.runs}] " if event.runs > 1 else ""
        return f"{number}{event.current_runs[0].title} seed {event.current_runs[0].seed}"
    gapless = last - first + 1 == len(event.numbers)
    which = f"{first}-{last}" if gapless else ", ".join(map(str, event.numbers))
    arms = ", ".join(dict.fromkeys(run.arm for run in event.current_runs))
    seeds = sorted({run.seed for run in event.current_runs})
    which_seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]}-{seeds[-1]}"
    return f"[runs {which} of {event.runs}] {arms}, {which_seeds}"


def _outcome(record: dict[str, Any]) -> str:
    if record["status"] != "done":
        return f"{record['status']}: {as_text(record.get('reason'))}"
    result = record["result"]
    return f"done, {as_text(result['split'])} {headline(result)}"


def headline(values: Mapping[str, Any], *, digits: int = 4) -> str:
    """The main metric as text: `{"top1": 0.9, …}` -> "top-1 0.9000"."""
    name = next(name for name in _METRICS if as_real(values.get(name)) is not None)
    return f"{_METRICS[name]} {values[name]:.{digits}f}"


@contextmanager
def showing(console: Console) -> Iterator[Callable[[SweepProgress], None]]:
    """Yields a listener that shows the progress of a sweep on `console`."""
    estimate = _Estimate()
    if not console.is_terminal:
        yield _plain_listener(console, estimate)
        return
    text = TextColumn(
        "{task.description}",
        markup=False,
        table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
    )
    with Progress(
        BarColumn(10), text, console=console, transient=True, refresh_per_second=4, expand=True
    ) as bar:
        task = bar.add_task("starting", total=None)

        def listen(event: SweepProgress) -> None:
            line = describe(event, estimate(event))
            if event.ended is not None:
                bar.console.print(line)
            done = event.steps - event.steps_left
            bar.update(task, description=line, total=event.steps, completed=done)

        yield listen


def _plain_listener(console: Console, estimate: _Estimate) -> Callable[[SweepProgress], None]:
    last, arms = -math.inf, set[str]()

    def listen(event: SweepProgress) -> None:
        nonlocal last
        left, now = estimate(event), time.monotonic()
        # The first run of an arm compiles, which can take a while: a line says so.
        current_arms = {run.arm for run in event.current_runs}
        new_arm = not current_arms <= arms
        arms.update(current_arms)
        if event.ended is not None or new_arm or now - last > _PLAIN_SECONDS:
            console.print(describe(event, left))
            last = now

    return listen
