"""How many runs should train together: measured once on a machine, then remembered."""

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
from xception_jax.runtime.disk_cache import recall, remember
from xception_jax.sweep.experiment import PlannedRun
from xception_jax.sweep.measurement import Measured, measure
from xception_jax.sweep.packing import even_size
from xception_jax.training.setup import make_schedule, open_data
from xception_jax.training.sharding import devices_of_packs

_MOST = 16  # more gained nothing where it was measured, and memory grows with it
# Where packs are spread over a CPU's cores, slots of each: with one, operations are small; with
# many, what they work on leaves its cache. On two cores packs of four trained within 3% of the
# fastest size, be it of a tiny or of a larger model, and of sixteen up to 17% slower than it
# (benchmarks/results/packing.json).
_FEWEST_OF_A_CORE, _MOST_OF_A_CORE = 2, 5
_FEW_STEPS = 50  # of a run, too few to be worth timing any
# Of the time of all runs, what compiling another size may take: it seldom saves more, see above.
_SHARE_TO_COMPILE = 0.05


def choose_size(
    runs: Sequence[PlannedRun], cache: Path | None, say: Callable[[str], None]
) -> tuple[int, str]:
    """How many of these runs should train together, and a word on how that was found.

    The largest size that fits is compiled, which is no loss of time if it is taken. Then packs half
    as large and each run alone are compiled and timed for a second, but only while all runs
    together take so long that a faster size would make up for it. What was measured is kept in
    `cache` for the next sweep of this program on such devices.

    Args:
        runs: that can train together, two at least.
        cache: a directory; None: nothing is remembered.
        say: takes the line that tells people.
    """
    path = None if cache is None else cache / f"{_key(runs)}.json"
    known = _rates(recall(path))
    rates = known or _measure_sizes(runs)
    best = max(rates, key=lambda size: rates[size] or 0.0)
    if not known and all(rates.values()):
        remember(path, rates)
    how = "remembered" if known else "measured" if all(rates.values()) else "not timed"
    figures = ", ".join(f"{size}: {rate:,.0f} images/s" for size, rate in rates.items() if rate)
    chosen = f"{how}, {figures}" if figures else how
    say(f"packing: {best} of {len(runs)} runs at a time ({chosen})")
    return best, chosen


def _measure_sizes(runs: Sequence[PlannedRun]) -> dict[int, float | None]:
    """Images per second by size; the only size has None where it was not worth timing."""
    config = runs[0].config
    activations = tuple(sorted({run.config.model.block.intermediate_activation for run in runs}))
    rates: dict[int, float | None] = {}
    with closing(open_data(config)) as pipeline:
        schedule = make_schedule(config, pipeline.info.examples["train"])
        images = schedule.total * schedule.examples_per_step * len(runs)

        def measured(size: int) -> Measured:
            slots, every = (None, activations[:1]) if size == 1 else (size, activations)
            own = next(
                r.config for r in runs if r.config.model.block.intermediate_activation in every
            )
            return measure(own, pipeline, slots, every, timed=schedule.total > _FEW_STEPS)

        longest = 0.0  # to compile, seconds
        for size in _candidates(len(runs)):
            if rates and longest > _SHARE_TO_COMPILE * images / max(filter(None, rates.values())):
                break
            found = measured(size)
            longest = max(longest, found.compile_seconds)
            if not found.fits and size > 1:
                continue
            if found.images_per_second is None:
                rates[size] = None
                break
            filled = len(runs) / (ceil(len(runs) / size) * size)  # of the slots of all packs
            rates[size] = found.images_per_second * filled
    return rates


def _candidates(runs: int) -> list[int]:
    """At most three sizes that leave few slots over: a large one, half of it, one.

    Large is all runs, up to a cap. Where packs are spread over a CPU's cores, each core has equally
    many slots, and the large size is the smallest of those that leave fewest over.
    """
    cores = devices_of_packs()
    if cores == 1 or runs <= _FEWEST_OF_A_CORE * cores:
        large = even_size(runs, _MOST)
    else:
        each = range(_FEWEST_OF_A_CORE * cores, _MOST_OF_A_CORE * cores + 1, cores)
        large = min(each, key=lambda size: ceil(runs / size) * size)
    sizes = large, even_size(runs, max(1, large // 2)), 1
    even = (size if size <= cores else ceil(size / cores) * cores for size in sizes)
    return sorted(set(even), reverse=True)


def _key(runs: Sequence[PlannedRun]) -> str:
    """Of everything that decides how fast a size is."""
    devices = jax.devices()
    content = {
        "settings": shared_settings(runs[0].config),
        "activations": sorted({run.config.model.block.intermediate_activation for run in runs}),
        "sizes": _candidates(len(runs)),
        "devices": [devices[0].device_kind, len(devices)],
        "kernels": native.targets(),
        **files.provenance(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _rates(remembered: dict[str, Any]) -> dict[int, float | None]:
    try:
        return {int(size): float(rate) for size, rate in remembered.items()}
    except (TypeError, ValueError):
        return {}
