"""The choice of how many runs train together: measured once on a machine, then cached."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from math import ceil
from pathlib import Path
from typing import Any

import jax

from xception_jax.config import shared_settings
from xception_jax.ops import native
from xception_jax.runtime import run_directory as files
from xception_jax.runtime.disk_cache import load, store
from xception_jax.runtime.source_code import package_digest
from xception_jax.sweep.experiment import PlannedRun
from xception_jax.sweep.measurement import Measurement, measure
from xception_jax.sweep.packing import even_size
from xception_jax.training.setup import make_schedule, open_data
from xception_jax.training.sharding import devices_of_packs

_MOST_SLOTS = 16  # more gained nothing where it was measured, and memory grows with them
# Slots per core, where packs are spread over a CPU's cores: with one, operations are small; with
# many, what they work on does not fit into the core's cache. On two cores packs of four trained
# within 3% of the fastest size, both of a tiny and of a larger model, and packs of sixteen up to
# 17% slower (benchmarks/results/packing.json).
_FEWEST_PER_CORE, _MOST_PER_CORE = 2, 5
_FEW_STEPS = 50  # runs of so few steps are not worth timing any
# The share of the time of all runs that compiling another size may take: it seldom saves more.
_SHARE_TO_COMPILE = 0.05


def choose_size(
    runs: Sequence[PlannedRun], cache: Path | None, say: Callable[[str], None]
) -> tuple[int, str]:
    """How many of these runs should train together, and how that was found, in words.

    The largest size that fits is compiled, which is no loss of time if it is chosen. Then packs
    half as large and each run alone are compiled and timed for a second, but only while all runs
    together take so long that a faster size would make up for it. The measurement is stored in
    `cache` for the next sweep of this program on such devices.

    Args:
        runs: at least two runs that can train together.
        cache: directory of the cache; None: nothing is stored.
        say: takes a line of text for people.
    """
    path = None if cache is None else cache / f"{_key(runs)}.json"
    cached = _rates(load(path))
    rates = cached or _measure_sizes(runs)
    best = max(rates, key=lambda size: rates[size] or 0.0)
    if not cached and all(rates.values()):
        store(path, rates)
    how = "remembered" if cached else "measured" if all(rates.values()) else "not timed"
    figures = ", ".join(f"{size}: {rate:,.0f} images/s" for size, rate in rates.items() if rate)
    chosen = f"{how}, {figures}" if figures else how
    say(f"packing: {best} of {len(runs)} runs at a time ({chosen})")
    return best, chosen


def _measure_sizes(runs: Sequence[PlannedRun]) -> dict[int, float | None]:
    """Images per second by size; a single size has None where it was not worth timing."""
    config = runs[0].config
    activations = tuple(sorted({run.config.model.block.intermediate_activation for run in runs}))
    rates: dict[int, float | None] = {}
    with closing(open_data(config)) as pipeline:
        schedule = make_schedule(config, pipeline.info.examples["train"])
        images = schedule.total * schedule.examples_per_step * len(runs)

        def measured(size: int) -> Measurement:
            slots, choices = (None, activations[:1]) if size == 1 else (size, activations)
            of_run = next(
                r.config for r in runs if r.config.model.block.intermediate_activation in choices
            )
            return measure(of_run, pipeline, slots, choices, timed=schedule.total > _FEW_STEPS)

        compile_seconds = 0.0  # the longest so far
        for size in _candidates(len(runs)):
            fastest = max(filter(None, rates.values()), default=0.0)
            if rates and compile_seconds > _SHARE_TO_COMPILE * images / fastest:
                break
            measurement = measured(size)
            compile_seconds = max(compile_seconds, measurement.compile_seconds)
            if not measurement.fits and size > 1:
                continue
            if measurement.images_per_second is None:
                rates[size] = None
                break
            share_of_filled_slots = len(runs) / (ceil(len(runs) / size) * size)
            rates[size] = measurement.images_per_second * share_of_filled_slots
    return rates


def _candidates(runs: int) -> list[int]:
    """At most three sizes of packs with few empty slots: a large one, half of it, and one.

    The large size is all runs, up to a cap. Where packs are spread over a CPU's cores, all cores
    have equally many slots, and the large size is the smallest of those with fewest empty slots.
    """
    cores = devices_of_packs()
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
        "activations": sorted({run.config.model.block.intermediate_activation for run in runs}),
        "sizes": _candidates(len(runs)),
        "devices": [devices[0].device_kind, len(devices)],
        "kernels": native.targets(),
        "versions": files.versions(),
        "package": package_digest(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _rates(stored: dict[str, Any]) -> dict[int, float | None]:
    try:
        return {int(size): float(rate) for size, rate in stored.items()}
    except (TypeError, ValueError):
        return {}
