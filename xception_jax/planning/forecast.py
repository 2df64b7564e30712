"""Forecasts of an arm's memory and time on a TPU topology, from its compiler; needs no chips."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any

from xception_jax.config import Config, resolve
from xception_jax.planning.ahead import (
    Figures,
    LoweredStep,
    Traffic,
    compile_figures,
    lower_evaluation,
    lower_training,
)
from xception_jax.planning.budget import dataset_info
from xception_jax.planning.roofline import CHIPS, HOUR, Roofline, roofline
from xception_jax.planning.topology import Topology
from xception_jax.runtime.disk_cache import load, store
from xception_jax.training.setup import evaluation_batch_size, make_schedule
from xception_jax.training.sharding import Layout, make_mesh

_TRIALS = 3
_MOST_IMAGES = 2**20  # the largest `train.batch_size`
_NEAR_ENOUGH = 1 / 8  # gap between batch sizes, as a fraction of the largest known to fit


@dataclass(frozen=True)
class Step:
    """A compiled step and its roofline, which is None if the step does not fit into memory."""

    figures: Figures
    best: Roofline | None

    @property
    def seconds(self) -> float | None:
        """The least time that the step can take; None if it does not fit."""
        return None if self.best is None else self.best.seconds


@dataclass(frozen=True)
class Forecast:
    """The forecast for the runs of one arm.

    Attributes:
        arm: name of the arm.
        batch_size: number of images per training step, on all chips together.
        train: the training step.
        evaluation: the evaluation step.
        steps: number of training steps of a run.
        evaluation_steps: number of evaluation steps of a run, in all validations and the final
            evaluation.
        largest_batch: largest training batch known to fit; None if none does, or without a search.
        too_large_batch: smallest training batch known not to fit; None likewise.
        epochs: passes over the training split of a run.
    """

    arm: str
    batch_size: int
    train: Step
    evaluation: Step
    steps: int
    evaluation_steps: int
    largest_batch: int | None
    too_large_batch: int | None
    epochs: float = 1.0

    @property
    def run_seconds(self) -> float | None:
        """The least time that all steps of a run can take; None if one does not fit."""
        train, evaluation = self.train.seconds, self.evaluation.seconds
        if train is None or evaluation is None:
            return None
        return self.steps * train + self.evaluation_steps * evaluation

    def chip_hours(self, topology: Topology) -> float | None:
        """The least chip-hours of a run; None if a step does not fit."""
        seconds = self.run_seconds
        return None if seconds is None else seconds * len(topology.devices) / HOUR


def forecast(
    arm: str,
    config: Config,
    topology: Topology,
    *,
    search: bool,
    cache: Path | None,
    say: Callable[[str], None],
) -> Forecast:
    """Compiles the steps of an arm's runs as training would, one run at a time on all chips.

    Args:
        arm: name of the arm.
        config: config of one of its runs.
        topology: the chips to compile for.
        search: whether to search for the largest training batch that fits, by compiling a few more
            programs.
        cache: directory of the figures of programs that were compiled before; None for no cache.
        say: function called with a line of text before each program that takes long.

    Raises:
        InputError: the run cannot be built, or not for this number of chips.
    """
    info, layout = dataset_info(config), Layout(make_mesh(topology.devices))

    def training(batch_size: int) -> Figures:
        resized = resolve(config, {"train.batch_size": batch_size})
        say(f"{arm}: the training step on a batch of {batch_size:,}")
        return figures_of(lower_training(resized, info, layout), topology, cache)

    train = training(config.train.batch_size)
    say(f"{arm}: the evaluation step")
    evaluation = figures_of(lower_evaluation(config, info, layout), topology, cache)
    largest, too_large = None, None
    if search:
        largest, too_large = search_largest(
            lambda size: training(size).memory_bytes,
            {config.train.batch_size: train.memory_bytes},
            unit=_batch_unit(config, topology),
            available=topology.memory_bytes,
        )
    schedule = make_schedule(config, info.examples["train"])
    batch = evaluation_batch_size(config, layout)
    validations = schedule.rows("valid", schedule.total)
    batches = {split: ceil(examples / batch) for split, examples in info.examples.items()}
    return Forecast(
        arm=arm,
        batch_size=config.train.batch_size,
        train=with_roofline(train, topology),
        evaluation=with_roofline(evaluation, topology),
        steps=schedule.total,
        evaluation_steps=validations * batches["valid"] + batches["test"],
        largest_batch=largest,
        too_large_batch=too_large,
        epochs=config.train.epochs,
    )


def _batch_unit(config: Config, topology: Topology) -> int:
    """A number whose multiples can be batch sizes: each device has whole groups of rows."""
    group_size = config.model.block.norm.group_size or 1
    return len(topology.devices) * config.train.accumulation_steps * group_size


def search_largest(
    needed: Callable[[int], float], known: dict[int, float], *, unit: int, available: float
) -> tuple[int | None, int | None]:
    """Searches for the largest batch that fits into memory, to about an eighth.

    The memory that a program needs grows about linearly with the batch, so the next size to try is
    where the line through the two sizes nearest to the limit reaches it. Near the limit, the
    compiler starts to recompute values instead of keeping them, so that larger sizes may still fit.

    Args:
        needed: function from a batch size to the bytes it needs; slow.
        known: bytes by batch size, as far as they are known already.
        unit: number that the sizes to try are multiples of; a known size need not be one.
        available: available bytes.

    Returns:
        The largest size known to fit and the smallest known not to; None if there is none.
    """
    known = dict(known)
    for _ in range(_TRIALS):
        low, high = _bracket(known, available)
        size = max(_full_at(known, available), (low or 0) * (1 + _NEAR_ENOUGH))
        if high is not None:
            size = min(size, high - unit)
            if low is not None and high <= low * (1 + _NEAR_ENOUGH):
                break
        size = max(int(size) // unit, (low or 0) // unit + 1) * unit
        size = min(size, _MOST_IMAGES // unit * unit)
        if size <= (low or 0) or size in known or (high is not None and size > high):
            break
        known[size] = needed(size)
    return _bracket(known, available)


def _bracket(known: dict[int, float], available: float) -> tuple[int | None, int | None]:
    fitting = [size for size, needed in known.items() if needed <= available]
    too_large = [size for size, needed in known.items() if needed > available]
    return max(fitting, default=None), min(too_large, default=None)


def _full_at(known: dict[int, float], available: float) -> float:
    """The batch size at which the line through the two sizes nearest to the limit reaches it.

    If only one size is known, the line goes through the origin.
    """
    nearest = sorted(known.items(), key=lambda item: abs(item[1] - available))[:2]
    (size, needed), (other_size, other_needed) = (*nearest, (0, 0.0))[:2]
    slope = (needed - other_needed) / (size - other_size)
    return size + (available - needed) / slope if slope > 0 else size


def with_roofline(figures: Figures, topology: Topology) -> Step:
    """A step with its roofline on a chip of the topology."""
    if not figures.fits or figures.flops is None or figures.hbm_bytes is None:
        return Step(figures, None)
    best = roofline(
        CHIPS[topology.generation],
        flops=figures.flops,
        memory_bytes=figures.hbm_bytes,
        sent_bytes=sum(traffic.sent_bytes for traffic in figures.traffic),
    )
    return Step(figures, best)


def figures_of(step: LoweredStep, topology: Topology, cache: Path | None) -> Figures:
    """The compiler's figures on a step, from the cache if it has the same program and compiler."""
    path = None if cache is None else cache / f"{_key(step, topology)}.json"
    try:
        return _read(load(path))
    except (KeyError, TypeError):
        figures = compile_figures(step, topology)
        store(path, asdict(figures))
        return figures


def _read(content: dict[str, Any]) -> Figures:
    traffic = tuple(Traffic(**entry) for entry in content["traffic"])
    return Figures(**content | {"traffic": traffic, "gathered": tuple(content["gathered"])})


def _key(step: LoweredStep, topology: Topology) -> str:
    """Digest of what the figures depend on: program, chips, compiler, and what is counted."""
    versions = {name: version(name) for name in ("jax", "jaxlib", "libtpu", "xception-jax")}
    counted = [field.name for field in fields(Figures)]
    program = step.rows, step.lowered.as_text()
    content = [topology.name, topology.memory_bytes, versions, counted, *program]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
