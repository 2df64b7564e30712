"""`plan --topology`: every arm compiled for chips that need not be present."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table

from xception_jax.cache import cache_directory
from xception_jax.commands.console import console, plain_table, quantity, warn
from xception_jax.errors import InputError

if TYPE_CHECKING:
    from xception_jax.config import Config
    from xception_jax.planning.forecast import Forecast, Step
    from xception_jax.planning.topology import Topology
    from xception_jax.sweep import Tune

_BOUND = {"arithmetic": "arithmetic", "memory": "HBM", "links": "chip links"}


def show_forecast(
    arms: Sequence[tuple[str, "Config"]],
    seeds: int,
    name: str,
    *,
    search: bool,
    as_json: bool,
    tune: "Tune | None" = None,
) -> int:
    """Compiles all arms and prints what they need.

    Returns:
        1 if an arm does not fit or sends activations between chips, else 0.

    Args:
        arms: (name, config) of each arm.
        seeds: number of runs per arm.
        name: name of the topology.
        search: whether to search for the largest batch that fits.
        as_json: whether to print JSON instead of tables.
        tune: what is tuned before these runs; None: nothing.

    Raises:
        InputError: no such topology, no compiler, or an arm that cannot be built.
    """
    from xception_jax.planning.forecast import forecast
    from xception_jax.planning.topology import open_topology

    topology = open_topology(name)
    cache = cache_directory() / "topologies"
    forecasts = []
    for arm, config in arms:
        try:
            forecasts.append(forecast(arm, config, topology, search=search, cache=cache, say=warn))
        except InputError as error:
            field = f"arm {arm}: {error.field}"
            raise InputError(field, error.value, error.reason, error.nearest) from error
    if as_json:
        described = _described(forecasts, seeds, topology)
        described |= {} if tune is None else {"tuning": _tuning(forecasts, tune, topology)}
        console.print_json(json.dumps(described))
    else:
        _show(forecasts, seeds, topology, tune)
    return int(any(faults_of(arm_forecast) for arm_forecast in forecasts))


def _tuning(forecasts: Sequence["Forecast"], tune: "Tune", topology: "Topology") -> dict[str, Any]:
    """Runs and least chip-hours of tuning: with the declared values, and with every extension.

    Hours are those of the verdict's runs, by the share of the epochs.
    """
    from xception_jax.planning.tuning_cost import most_values

    points, most = math.prod(map(len, tune.values)), most_values(tune.values)
    runs = len(forecasts) * points * tune.seeds
    hours = [forecast.chip_hours(topology) for forecast in forecasts]
    total = None
    if all(hour is not None for hour in hours):
        shares = [1.0 if tune.epochs is None else tune.epochs / f.epochs for f in forecasts]
        pairs = zip(hours, shares, strict=True)
        total = points * tune.seeds * sum((hour or 0) * share for hour, share in pairs)
    return {
        "runs": runs,
        "most_runs": round(runs * most),
        "chip_hours": total,
        "most_chip_hours": None if total is None else total * most,
    }


def _show(
    forecasts: Sequence["Forecast"], seeds: int, topology: "Topology", tune: "Tune | None"
) -> None:
    console.print(_step_table(forecasts, topology))
    for arm_forecast in forecasts:
        for kind, step in _steps(arm_forecast):
            for line in _notes(step):
                console.print(f"{arm_forecast.arm}, {kind}: {line}")
    console.print()
    console.print(_run_table(forecasts, seeds, topology))
    hours = [arm_forecast.chip_hours(topology) for arm_forecast in forecasts]
    if all(hour is not None for hour in hours):
        runs, total = seeds * len(forecasts), seeds * sum(hour or 0 for hour in hours)
        days = total / len(topology.devices) / 24
        console.print(
            f"{runs} runs, one after another on {len(topology.devices)} chips: at least "
            f"{days:,.3g} days, {total:,.4g} chip-hours"
        )
    if tune is not None and (of_tuning := _tuning(forecasts, tune, topology))["chip_hours"]:
        console.print(
            f"Tuning: {of_tuning['runs']} runs, at least {of_tuning['chip_hours']:,.4g} chip-hours;"
            f" with every extension {of_tuning['most_runs']} runs, "
            f"{of_tuning['most_chip_hours']:,.4g} chip-hours"
        )
    console.print()
    usable = gibibytes(topology.memory_bytes)
    console.print(
        f"Compiled for {topology.name} by its own compiler; nothing was run. Programs may"
    )
    console.print(f"use {usable} of a chip's HBM. At best: the longest of what arithmetic, HBM and")
    console.print("chip links take at their peak, overlapping perfectly. Real steps take longer.")


def _step_table(forecasts: Sequence["Forecast"], topology: "Topology") -> Table:
    names = ("HBM", "free", "FLOPs", "HBM traffic", "sent", "at best")
    numbers = [Column(name, justify="right") for name in names]
    seconds = Column("CPU time to compile", justify="right")
    table = plain_table(Column("arm", overflow="fold"), "step", *numbers, "bound by", seconds)
    for arm_forecast in forecasts:
        for kind, step in _steps(arm_forecast):
            table.add_row(arm_forecast.arm, kind, *_cells(step, topology))
    return table


def _steps(arm_forecast: "Forecast") -> tuple[tuple[str, "Step"], ...]:
    return ("training", arm_forecast.train), ("evaluation", arm_forecast.evaluation)


def _cells(step: "Step", topology: "Topology") -> tuple[str, ...]:
    figures, best = step.figures, step.best
    free = topology.memory_bytes - figures.memory_bytes
    memory = gibibytes(figures.memory_bytes), gibibytes(free)
    seconds = f"{figures.compile_seconds:,.0f} s"
    if best is None or figures.flops is None or figures.hbm_bytes is None:
        return *memory, "", "", "", "", "does not fit", seconds
    sent = sum(traffic.sent_bytes for traffic in figures.traffic)
    return (
        *memory,
        quantity(figures.flops),
        f"{quantity(figures.hbm_bytes)}B",
        f"{quantity(sent)}B",
        f"{best.seconds * 1e3:,.3g} ms",
        _BOUND[best.bound],
        seconds,
    )


def _notes(step: "Step") -> list[str]:
    """Lines on a step's collectives, errors, and limits of the figures."""
    lines = [
        f"{traffic.kind} of {traffic.count} arrays, {quantity(traffic.bytes)}B"
        for traffic in step.figures.traffic
    ]
    if step.figures.loops:
        lines.append(f"has {step.figures.loops} loops, one turn of each counted: all is too low")
    return lines + [f"error: {fault}" for fault in step.figures.gathered]


def _run_table(forecasts: Sequence["Forecast"], seeds: int, topology: "Topology") -> Table:
    per_arm = f"chip-hours of {seeds}"
    names = ("batch", "largest that fits", "steps", "a run, at best", per_arm)
    numbers = [Column(name, justify="right") for name in names]
    table = plain_table(Column("arm", overflow="fold"), *numbers)
    for arm_forecast in forecasts:
        hours, seconds = arm_forecast.chip_hours(topology), arm_forecast.run_seconds
        table.add_row(
            arm_forecast.arm,
            f"{arm_forecast.batch_size:,}",
            _largest(arm_forecast),
            f"{arm_forecast.steps:,}",
            "" if seconds is None else f"{seconds / 3600:,.3g} h",
            "" if hours is None else f"{seeds * hours:,.4g}",
        )
    return table


def _largest(arm_forecast: "Forecast") -> str:
    if arm_forecast.largest_batch is None:
        return (
            ""
            if arm_forecast.too_large_batch is None
            else f"below {arm_forecast.too_large_batch:,}"
        )
    beyond = (
        ""
        if arm_forecast.too_large_batch is None
        else f" ({arm_forecast.too_large_batch:,} does not)"
    )
    return f"{arm_forecast.largest_batch:,}{beyond}"


def gibibytes(number: float) -> str:
    """Formats bytes in GiB: `16_911_433_728` -> "15.75 GiB"."""
    return f"{number / 2**30:.2f} GiB"


def faults_of(arm_forecast: "Forecast") -> list[str]:
    """The reasons, if any, for which an arm makes `plan` exit with 1."""
    faults = ["does not fit"] * (arm_forecast.run_seconds is None)
    return faults + [fault for _, step in _steps(arm_forecast) for fault in step.figures.gathered]


def _described(forecasts: Sequence["Forecast"], seeds: int, topology: "Topology") -> dict[str, Any]:
    """The content of `plan --topology --json`: bytes, seconds and chip-hours."""
    arms = [
        asdict(arm_forecast)
        | {"run_seconds": arm_forecast.run_seconds, "chip_hours": arm_forecast.chip_hours(topology)}
        | {"faults": faults_of(arm_forecast)}
        for arm_forecast in forecasts
    ]
    return {
        "topology": topology.name,
        "chips": len(topology.devices),
        "memory_bytes": topology.memory_bytes,
        "seeds": seeds,
        "arms": arms,
    }
