"""What `plan --topology` shows: every arm, compiled for chips that need not be there."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from xception_jax.cache import cache_directory
from xception_jax.commands.console import console, warn
from xception_jax.commands.process import prepare_jax
from xception_jax.errors import InputError

if TYPE_CHECKING:
    from xception_jax.config import Config
    from xception_jax.planning.forecast import Forecast, Step
    from xception_jax.planning.topology import Topology

_BOUND = {"arithmetic": "arithmetic", "memory": "HBM", "links": "chip links"}


def show_forecast(
    arms: Sequence[tuple[str, "Config"]],
    seeds: int,
    name: str,
    *,
    search: bool,
    as_json: bool,
) -> int:
    """Compiles and shows all arms; 1 if one does not fit, or sends activations between chips.

    Args:
        arms: name and config of each.
        seeds: runs of each.
        name: of the topology.
        search: for the largest batches.
        as_json: for programs.

    Raises:
        InputError: no such topology, no compiler, or an arm that cannot be built.
    """
    prepare_jax()
    from xception_jax.planning.forecast import forecast
    from xception_jax.planning.topology import open_topology

    topology = open_topology(name)
    cache = cache_directory() / "topologies"
    found = []
    for arm, config in arms:
        try:
            found.append(forecast(arm, config, topology, search=search, cache=cache, say=warn))
        except InputError as error:
            field = f"arm {arm}: {error.field}"
            raise InputError(field, error.value, error.reason, error.nearest) from error
    if as_json:
        console.print_json(json.dumps(_described(found, seeds, topology)))
    else:
        _show(found, seeds, topology)
    return int(any(faults_of(each) for each in found))


def _show(found: Sequence["Forecast"], seeds: int, topology: "Topology") -> None:
    console.print(_step_table(found, topology))
    for each in found:
        for kind, step in _steps(each):
            for line in _notes(step):
                console.print(f"{each.arm}, {kind}: {line}")
    console.print()
    console.print(_run_table(found, seeds, topology))
    hours = [each.chip_hours(topology) for each in found]
    if all(hour is not None for hour in hours):
        runs, total = seeds * len(found), seeds * sum(hour or 0 for hour in hours)
        days = total / len(topology.devices) / 24
        console.print(
            f"{runs} runs, one after another on {len(topology.devices)} chips: at least "
            f"{days:,.3g} days, {total:,.4g} chip-hours"
        )
    console.print()
    usable = gibibytes(topology.memory_bytes)
    console.print(
        f"Compiled for {topology.name} by its own compiler; nothing was run. Programs may"
    )
    console.print(f"use {usable} of a chip's HBM. At best: the longest of what arithmetic, HBM and")
    console.print("chip links take at their peak, overlapping perfectly. Real steps take longer.")


def _step_table(found: Sequence["Forecast"], topology: "Topology") -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("arm", overflow="fold")
    table.add_column("step")
    for heading in ("HBM", "free", "FLOPs", "HBM traffic", "sent", "at best"):
        table.add_column(heading, justify="right")
    table.add_column("bound by")
    table.add_column("CPU time to compile", justify="right")
    for each in found:
        for kind, step in _steps(each):
            table.add_row(each.arm, kind, *_cells(step, topology))
    return table


def _steps(each: "Forecast") -> tuple[tuple[str, "Step"], ...]:
    return ("training", each.train), ("evaluation", each.evaluation)


def _cells(step: "Step", topology: "Topology") -> tuple[str, ...]:
    from xception_jax.commands.plan import quantity

    figures, best = step.figures, step.best
    free = topology.memory_bytes - figures.memory_bytes
    memory = gibibytes(figures.memory_bytes), gibibytes(free)
    seconds = f"{figures.compile_seconds:,.0f} s"
    if best is None or figures.flops is None or figures.accessed_bytes is None:
        return *memory, "", "", "", "", "does not fit", seconds
    sent = sum(traffic.sent_bytes for traffic in figures.traffic)
    return (
        *memory,
        quantity(figures.flops),
        f"{quantity(figures.accessed_bytes)}B",
        f"{quantity(sent)}B",
        f"{best.seconds * 1e3:,.3g} ms",
        _BOUND[best.bound],
        seconds,
    )


def _notes(step: "Step") -> list[str]:
    """Collectives, and what is wrong or has to be known of the figures."""
    from xception_jax.commands.plan import quantity

    lines = [
        f"{traffic.kind} of {traffic.count} arrays, {quantity(traffic.bytes)}B"
        for traffic in step.figures.traffic
    ]
    if step.figures.loops:
        lines.append(f"has {step.figures.loops} loops, one turn of each counted: all is too low")
    return lines + [f"error: {fault}" for fault in step.figures.gathered]


def _run_table(found: Sequence["Forecast"], seeds: int, topology: "Topology") -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("arm", overflow="fold")
    for heading in (
        "batch",
        "largest that fits",
        "steps",
        "a run, at best",
        f"chip-hours of {seeds}",
    ):
        table.add_column(heading, justify="right")
    for each in found:
        hours, seconds = each.chip_hours(topology), each.run_seconds
        table.add_row(
            each.arm,
            f"{each.batch_size:,}",
            _largest(each),
            f"{each.steps:,}",
            "" if seconds is None else f"{seconds / 3600:,.3g} h",
            "" if hours is None else f"{seeds * hours:,.4g}",
        )
    return table


def _largest(each: "Forecast") -> str:
    if each.largest_batch is None:
        return "" if each.too_large_batch is None else f"below {each.too_large_batch:,}"
    beyond = "" if each.too_large_batch is None else f" ({each.too_large_batch:,} does not)"
    return f"{each.largest_batch:,}{beyond}"


def gibibytes(number: float) -> str:
    """`16_911_433_728` -> "15.75 GiB"."""
    return f"{number / 2**30:.2f} GiB"


def faults_of(each: "Forecast") -> list[str]:
    """What makes the plan fail."""
    faults = ["does not fit"] * (each.run_seconds is None)
    return faults + [fault for _, step in _steps(each) for fault in step.figures.gathered]


def _described(found: Sequence["Forecast"], seeds: int, topology: "Topology") -> dict[str, Any]:
    """All of it, for programs; bytes, seconds and chip-hours."""
    arms = [
        asdict(each)
        | {"run_seconds": each.run_seconds, "chip_hours": each.chip_hours(topology)}
        | {"faults": faults_of(each)}
        for each in found
    ]
    return {
        "topology": topology.name,
        "chips": len(topology.devices),
        "memory_bytes": topology.memory_bytes,
        "seeds": seeds,
        "arms": arms,
    }
