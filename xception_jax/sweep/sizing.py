"""The choice of how many runs train together: measured once on a machine, then cached."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import jax

from xception_jax.config import shared_settings
from xception_jax.ops import native
from xception_jax.runtime import run_directory as files
from xception_jax.runtime.disk_cache import load, store
from xception_jax.runtime.source_code import package_digest
from xception_jax.sweep.experiment import PlannedRun
from xception_jax.sweep.measurement import Trial, prepare_trial
from xception_jax.sweep.packing import even_size
from xception_jax.training import Interrupted
from xception_jax.training.setup import activations_of, make_schedule, open_data
from xception_jax.training.sharding import cpu_devices_of_packs

_MOST_SLOTS = 16  # more gained nothing where it was measured, and memory grows with them
# Slots per core, where packs are spread over a CPU's cores: with one, operations are small; with
# many, what they work on does not fit into the core's cache. On two cores packs of four trained
# within 3% of the fastest size, both of a tiny and of a larger model, and packs of sixteen up to
# 17% slower (benchmarks/results/packing.json).
_FEWEST_PER_CORE, _MOST_PER_CORE = 2, 5
# So few steps of all packs together are not worth timing, nor compiling another size: that took as
# much of the processor's time as 80 steps of a pack of ten (nonlinearity.py, two cores).
_FEW_STEPS = 200
# The share of the time of all runs that compiling another size may take: it seldom saves more. How
# long it takes is not known where an earlier process has compiled the first: so long, at least.
_SHARE_TO_COMPILE = 0.05
_LEAST_SECONDS_TO_COMPILE = 10.0
# Sizes are timed in turns, so that another process's load meets all of them, at least so often;
# more often while it is not clear which is the fastest, within that share of the time of all runs.
_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 9
_SHARE_TO_TIME = 0.02
_STEADY = 1.5  # ratio of a size's fastest and slowest round up to which a choice is remembered


@dataclass(frozen=True)
class Rates:
    """The measured speeds that the choice of a size rests on.

    Attributes:
        rounds: for each size the images per second of every round, counting filled slots only; a
            single size without any where no other was worth timing.
        measured: when, in UTC.
        memory_bytes: for each size the memory that training adds to the process.
    """

    rounds: dict[int, list[float]]
    measured: str
    memory_bytes: dict[int, float]

    @property
    def best(self) -> int:
        """The size whose median is the largest."""
        return max(self.rounds, key=self.speed)

    def speed(self, size: int) -> float:
        """The median of a size's rounds, 0 without any."""
        return median(self.rounds[size] or [0.0])

    @property
    def is_steady(self) -> bool:
        """Whether no size has rounds that differ a lot."""
        of_sizes = self.rounds.values()
        return all(rounds and max(rounds) <= _STEADY * min(rounds) for rounds in of_sizes)

    def describe(self) -> str:
        """The speeds in words; empty where none was measured."""
        figures = ", ".join(
            f"{size}: {self.speed(size):,.0f} images/s" for size in self.rounds if self.rounds[size]
        )
        count = max(map(len, self.rounds.values()))
        return figures and f"{figures}; medians of {count} rounds in turns"


def choose_size(
    runs: Sequence[PlannedRun],
    cache: Path | None,
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> tuple[int, str]:
    """The number of these runs that should train together, and how it was found, in words.

    The largest size that fits is compiled, which is no loss of time if it is chosen. Then packs
    half as large and each run alone are compiled too, but only while all runs together take so long
    that a faster size would make up for it. All are timed in turns, for a third of a second at a
    time, and the one with the largest median is chosen: a load that comes and goes slows some of
    the rounds, seldom half of them. What was measured is stored in `cache` for the next sweep of
    this program on such devices, unless the rounds differ a lot.

    Args:
        runs: at least two runs that can train together.
        cache: directory of the cache; None: nothing is stored.
        say: takes a line of text for people.
        stop: asked before every compilation and every round.

    Raises:
        Interrupted: `stop` said so.
    """
    path = None if cache is None else cache / f"{_key(runs)}.json"
    cached = _read(load(path))
    rates = cached or _measure_sizes(runs, stop)
    if cached is None and rates.is_steady:
        store(path, asdict(rates))
    figures, best = rates.describe(), rates.best
    how = f"measured, {figures}" if figures else "not timed"
    if cached:
        how = f"remembered from {rates.measured[:10]}, {figures}"
    say(f"packing: {best} of {len(runs)} runs at a time ({how})")
    return best, how


def _measure_sizes(runs: Sequence[PlannedRun], stop: Callable[[], bool]) -> Rates:
    """Compiles and times the candidates."""
    config = runs[0].config
    activations = activations_of([run.config for run in runs])
    with closing(open_data(config)) as pipeline:
        schedule = make_schedule(config, pipeline.info.examples["train"])
        images = schedule.total * schedule.examples_per_step * len(runs)
        trials: dict[int, Trial] = {}
        fastest, compile_seconds = 0.0, _LEAST_SECONDS_TO_COMPILE
        for size in _candidates(len(runs)):
            if trials and compile_seconds > _SHARE_TO_COMPILE * images / fastest:
                break
            _raise_if_stopped(stop)
            slots, choices = (None, activations[:1]) if size == 1 else (size, activations)
            of_run = next(
                r.config for r in runs if r.config.model.block.intermediate_activation in choices
            )
            trial = prepare_trial(of_run, pipeline, slots, choices)
            compile_seconds = max(compile_seconds, trial.compile_seconds)
            if size > 1 and not trial.fits:
                continue
            if schedule.total * ceil(len(runs) / size) <= _FEW_STEPS or not trial.fits:
                trials = trials or {size: trial}
                break
            speed = trial.time()
            if speed is not None:
                trials[size], fastest = trial, max(fastest, speed)
        rounds = (
            _time_in_turns(trials, len(runs), images, stop) if fastest else {n: [] for n in trials}
        )
    memory = {size: trials[size].memory_bytes for size in rounds}
    return Rates(rounds or {1: []}, files.now(), memory)


def _raise_if_stopped(stop: Callable[[], bool]) -> None:
    if stop():
        raise Interrupted("stopped while sizes of packs were measured")


def _time_in_turns(
    trials: dict[int, Trial], runs: int, images: int, stop: Callable[[], bool]
) -> dict[int, list[float]]:
    """The images per second of every size in every round, those of empty slots not counted."""
    rounds: dict[int, list[float]] = {size: [] for size in trials}
    filled = {size: runs / (ceil(runs / size) * size) for size in trials}
    seconds, order = 0.0, list(trials)
    for number in range(_MOST_ROUNDS):
        _raise_if_stopped(stop)
        start = time.perf_counter()
        for size in order:
            rounds[size].append((trials[size].time() or 0.0) * filled[size])
        seconds += time.perf_counter() - start
        order.reverse()
        allowed = _SHARE_TO_TIME * images / (max(map(max, rounds.values())) or 1.0)
        if number + 1 >= _FEWEST_ROUNDS and (seconds > allowed or _is_clear(rounds)):
            break
    return rounds


def _is_clear(rounds: dict[int, list[float]]) -> bool:
    """Whether one size was faster in its slowest round than any other in its fastest."""
    slowest = {size: min(of_size) for size, of_size in rounds.items()}
    best = max(slowest, key=lambda size: slowest[size])
    return all(max(rounds[size]) < slowest[best] for size in rounds if size != best)


def _candidates(runs: int) -> list[int]:
    """At most three sizes of packs with few empty slots: a large one, half of it, and one.

    The large size is all runs, up to a cap. Where packs are spread over a CPU's cores, all cores
    have equally many slots, and the large size is the smallest of those with fewest empty slots.
    """
    cores = cpu_devices_of_packs()
    if cores == 1 or runs <= _FEWEST_PER_CORE * cores:
        large = even_size(runs, _MOST_SLOTS)
    else:
        multiples = range(_FEWEST_PER_CORE * cores, _MOST_PER_CORE * cores + 1, cores)
        large = min(multiples, key=lambda size: ceil(runs / size) * size)
    sizes = large, even_size(runs, max(1, large // 2)), 1
    even = (size if size <= cores else ceil(size / cores) * cores for size in sizes)
    return sorted(set(even), reverse=True)


def _key(runs: Sequence[PlannedRun]) -> str:
    """The name of the cached measurement: a hash of all that the speed of a size depends on."""
    devices = jax.devices()
    content = {
        "settings": shared_settings(runs[0].config),
        "activations": activations_of([run.config for run in runs]),
        "sizes": _candidates(len(runs)),
        "devices": [devices[0].device_kind, len(devices)],
        "kernels": native.targets(),
        "versions": files.versions(),
        "package": package_digest(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _read(stored: dict[str, Any]) -> Rates | None:
    """A stored measurement; None where there is none, or it is damaged or rests on few rounds."""
    try:
        rounds = {int(n): [float(rate) for rate in rates] for n, rates in stored["rounds"].items()}
        memory = {int(n): float(size) for n, size in stored["memory_bytes"].items()}
        rates = Rates(rounds, str(stored["measured"]), memory)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    few = any(len(of_size) < _FEWEST_ROUNDS for of_size in rounds.values())
    return None if few or not rounds else rates
