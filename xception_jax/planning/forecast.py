"""What an arm needs and takes on chips that need not be there, by the word of their compiler."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
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
from xception_jax.runtime.disk_cache import recall, remember
from xception_jax.training.setup import evaluation_batch_size, make_schedule
from xception_jax.training.sharding import Layout, make_mesh

_TRIALS = 3
_NEAR_ENOUGH = 1 / 8  # of the largest batch that is known to fit


@dataclass(frozen=True)
class Step:
    """A compiled step, and the time it takes at best; None where it does not fit."""

    figures: Figures
    best: Roofline | None

    @property
    def seconds(self) -> float | None:
        """At best."""
        return None if self.best is None else self.best.seconds


@dataclass(frozen=True)
class Forecast:
    """Of the runs of one arm.

    Attributes:
        arm: its name.
        batch_size: images of a training step, on all chips.
        train: the training step.
        evaluation: the step of an evaluation.
        steps: of training, of a run.
        evaluation_steps: of a run, of all validations and the final evaluation.
        largest_batch: the largest training batch that is known to fit; None: not searched for, or
            none does.
        too_large_batch: the smallest one that is known not to.
    """

    arm: str
    batch_size: int
    train: Step
    evaluation: Step
    steps: int
    evaluation_steps: int
    largest_batch: int | None
    too_large_batch: int | None

    @property
    def run_seconds(self) -> float | None:
        """Of all steps of a run at their best; None where one does not fit."""
        train, evaluation = self.train.seconds, self.evaluation.seconds
        if train is None or evaluation is None:
            return None
        return self.steps * train + self.evaluation_steps * evaluation

    def chip_hours(self, topology: Topology) -> float | None:
        """Of a run."""
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
    """Compiles the steps of an arm's runs as training would, each run alone on all the chips.

    Args:
        arm: its name.
        config: of one of its runs.
        topology: the chips.
        search: for the largest training batch that fits, which takes a few more programs.
        cache: a directory, where what was compiled before is found; None: nothing is remembered.
        say: takes a line for people before each program that takes long.

    Raises:
        InputError: a run that cannot be built, or not for so many chips.
    """
    info, layout = dataset_info(config), Layout(make_mesh(topology.devices))

    def training(batch_size: int) -> Figures:
        hparams = resolve(config, {"train.batch_size": batch_size})
        say(f"{arm}: the training step on a batch of {batch_size:,}")
        return figures_of(lower_training(hparams, info, layout), topology, cache)

    train = training(config.train.batch_size)
    say(f"{arm}: the evaluation step")
    evaluation = figures_of(lower_evaluation(config, info, layout), topology, cache)
    largest, too_large = None, None
    if search:
        largest, too_large = search_largest(
            lambda size: training(size).memory_bytes,
            {config.train.batch_size: train.memory_bytes},
            unit=len(topology.devices) * config.train.accumulation_steps,
            available=topology.memory_bytes,
        )
    schedule = make_schedule(config, info.examples["train"])
    batch = evaluation_batch_size(config, layout)
    validations = schedule.rows("valid", schedule.total)
    batches = {split: ceil(examples / batch) for split, examples in info.examples.items()}
    return Forecast(
        arm=arm,
        batch_size=config.train.batch_size,
        train=best_step(train, topology),
        evaluation=best_step(evaluation, topology),
        steps=schedule.total,
        evaluation_steps=validations * batches["valid"] + batches["test"],
        largest_batch=largest,
        too_large_batch=too_large,
    )


def search_largest(
    needed: Callable[[int], float], known: dict[int, float], *, unit: int, available: float
) -> tuple[int | None, int | None]:
    """(the largest batch known to fit, the smallest known not to), an eighth apart or so.

    What a program needs grows about as a straight line with the batch, so the next one to try is
    where the line through the two best known ones reaches what is there. But near the limit the
    compiler begins to compute things twice rather than keep them: what fits is no end yet.

    Args:
        needed: bytes of a batch of some size; slow.
        known: the same of one size, known already.
        unit: that a batch is a multiple of.
        available: bytes.
    """
    known = dict(known)
    for _ in range(_TRIALS):
        low, high = _bracket(known, available)
        size = max(_full_at(known, available), (low or 0) * (1 + _NEAR_ENOUGH))
        if high is not None:
            size = min(size, high - unit)
            if low is not None and high <= low * (1 + _NEAR_ENOUGH):
                break
        size = max(int(size) // unit * unit, (low or 0) + unit)
        if size in known:
            break
        known[size] = needed(size)
    return _bracket(known, available)


def _bracket(known: dict[int, float], available: float) -> tuple[int | None, int | None]:
    fits = [size for size, bytes_ in known.items() if bytes_ <= available]
    fails = [size for size, bytes_ in known.items() if bytes_ > available]
    return max(fits, default=None), min(fails, default=None)


def _full_at(known: dict[int, float], available: float) -> float:
    """Where the line through the two sizes nearest to the limit, or one and nothing, reaches it."""
    nearest = sorted(known.items(), key=lambda item: abs(item[1] - available))[:2]
    (size, bytes_), (other, other_bytes) = (*nearest, (0, 0.0))[:2]
    slope = (bytes_ - other_bytes) / (size - other)
    return size + (available - bytes_) / slope if slope > 0 else size


def best_step(figures: Figures, topology: Topology) -> Step:
    """With the time that a chip of the topology takes at best."""
    if not figures.fits or figures.flops is None or figures.accessed_bytes is None:
        return Step(figures, None)
    best = roofline(
        CHIPS[topology.generation],
        flops=figures.flops,
        memory_bytes=figures.accessed_bytes,
        sent_bytes=sum(traffic.sent_bytes for traffic in figures.traffic),
    )
    return Step(figures, best)


def figures_of(step: LoweredStep, topology: Topology, cache: Path | None) -> Figures:
    """Compiled, or as they were found in `cache` for the same program, chips and compiler."""
    path = None if cache is None else cache / f"{_key(step, topology)}.json"
    try:
        return _read(recall(path))
    except (KeyError, TypeError):
        figures = compile_figures(step, topology)
        remember(path, asdict(figures))
        return figures


def _read(content: dict[str, Any]) -> Figures:
    traffic = tuple(Traffic(**entry) for entry in content["traffic"])
    return Figures(**content | {"traffic": traffic, "gathered": tuple(content["gathered"])})


def _key(step: LoweredStep, topology: Topology) -> str:
    """Of everything that decides what is compiled, and by what."""
    versions = {name: version(name) for name in ("jax", "jaxlib", "libtpu", "xception-jax")}
    content = [topology.name, topology.memory_bytes, versions, step.rows, step.step_spec.as_text()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
