"""`plan`: what an experiment or a config costs, before anything is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from xception_jax.commands.console import (
    Base,
    ListSettings,
    Overrides,
    console,
    plain_table,
    quantity,
)
from xception_jax.commands.looks import declared_looks, seed_lines
from xception_jax.commands.process import prepare_jax, require_devices
from xception_jax.commands.sweep_options import Seeds
from xception_jax.errors import InputError

if TYPE_CHECKING:
    from xception_jax.config import Config
    from xception_jax.planning.budget import Cost
    from xception_jax.planning.tuning_cost import Load
    from xception_jax.statistics.detectable import Detectable
    from xception_jax.sweep import Experiment

    # (name, config, dotted names of the settings that the arm sets)
    Arm = tuple[str, Config, list[str]]

_LEGEND = (
    "MACs: multiply-adds of one image, forward. Activations: kept for the backward",
    "pass by one image, before the compiler saves any. Nothing was compiled.",
)


Pilot = Annotated[
    Path | None,
    typer.Option(help="A sweep of the same arms, whose spread tells what can be detected."),
]
TopologyName = Annotated[
    str | None,
    typer.Option(help="TPU topology to compile every step for, such as v5e:4x4; no TPU is needed."),
]
LargestBatch = Annotated[
    bool,
    typer.Option(
        "--largest-batch", help="With --topology: search for the largest batch that fits; slower."
    ),
]


def plan(
    file: Annotated[Path, typer.Argument(help="An experiment or config file, or a sweep.json.")],
    overrides: Overrides = None,
    *,
    settings_asked: ListSettings = False,  # noqa: ARG001 - its callback lists them
    base: Base = None,
    modules: Annotated[bool, typer.Option(help="Also list the modules of each arm.")] = False,
    seeds: Seeds = None,
    pilot: Pilot = None,
    topology: TopologyName = None,
    largest_batch: LargestBatch = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --topology: print one JSON object.")
    ] = False,
) -> int:
    """Show what each arm of an experiment costs, and which effects its claims can detect.

    This takes seconds. With --topology the TPU's compiler works out, in minutes, the memory and the
    time that every arm needs on those chips, and the exit code is 1 if an arm does not fit, or
    would send activations from chip to chip.

    Example: `xception-jax plan experiments/nonlinearity.py --pilot results/nonlinearity`
    """
    _require_fitting(topology, as_json, largest_batch, modules, pilot)
    experiment, settings, arms = _load(file, base, seeds, overrides or [])
    if topology is not None:
        from xception_jax.commands.forecast import show_forecast

        configs = [(arm, config) for arm, config, _ in arms]
        runs = 1 if experiment is None else experiment.seeds
        tune = None if experiment is None else experiment.tune
        return show_forecast(
            configs, runs, topology, search=largest_batch, as_json=as_json, tune=tune
        )
    if experiment is not None and experiment.bases:
        console.print(f"bases: {experiment.describe_bases()}")
    power = _power_lines(experiment, pilot)
    costs, notes, refusal = [], [], None
    for arm, config, named in arms:
        try:
            cost = _cost(config, named)
        except InputError as error:
            refusal = refusal or error
            notes.append(f"{arm} cannot be built: {error}")
            continue
        costs.append((arm, cost))
        notes += [f"{arm}: {name} changes nothing in this model" for name in cost.unused]
        if config.optimizer.warmup_epochs >= config.train.epochs:
            warmup = f"optimizer.warmup_epochs={config.optimizer.warmup_epochs:g}"
            notes.append(f"{arm}: {warmup} is all of the run, below its learning rate")
    if refusal and not costs:
        raise refusal
    tuning = () if refusal else _tuning_lines(experiment, settings)
    console.print(_cost_table(costs, _references(experiment)))
    for line in (*notes, *_LEGEND, _kernels_line(), *tuning, *power):
        console.print(line)
    for arm, cost in costs if modules else ():
        console.print(f"\n{arm}")
        console.print(_module_table(cost))
    return 0


def _require_fitting(
    topology: str | None, as_json: bool, largest_batch: bool, modules: bool, pilot: Path | None
) -> None:
    """Raises `InputError` for an option of the other kind of plan."""
    of_forecast = {"--json": as_json, "--largest-batch": largest_batch}
    of_costs = {"--modules": modules, "--pilot": pilot}
    how, refused = ("with", of_forecast) if topology is None else ("without", of_costs)
    for option, value in refused.items():
        if value:
            raise InputError(option, None, f"goes {how} --topology")


def _kernels_line() -> str:
    """Says which operations activations are counted for: what these keep depends on the kernels."""
    from xception_jax.ops import native

    built = "with" if native.targets() else "without"
    return f"They are those of this machine's operations, {built} the kernels of `make kernels`."


def _load(
    file: Path, base: list[Path] | None, seeds: int | None, overrides: list[str]
) -> tuple["Experiment | None", "Config", list["Arm"]]:
    """The experiment that `file` holds or records, None for a config; its base config; its arms."""
    from xception_jax.config import load_config, resolve
    from xception_jax.sweep.recorded import plan_from_file

    if not _holds_experiment(file):
        if base:
            raise InputError("--base", str(base[0]), "goes with an experiment; this is a config")
        if seeds is not None:
            raise InputError("--seeds", seeds, "goes with an experiment; this is a config")
        config = resolve(load_config(file), overrides=overrides)
        _start_jax()
        return None, config, [(file.stem, config, [])]
    experiment, settings, _ = plan_from_file(file, base=base, seeds=seeds, overrides=overrides)
    _start_jax()
    from xception_jax.planning.budget import equalize

    experiment = equalize(experiment, settings, keep=file.suffix == ".json")
    arms = experiment.arms.items()
    return experiment, settings, [(arm, resolve(settings, sets), list(sets)) for arm, sets in arms]


def _holds_experiment(file: Path) -> bool:
    """Whether a file is that of an experiment, or the record of one, and not a config."""
    from xception_jax.config import load_function, read_json

    if file.suffix == ".json":
        return "experiment" in read_json(file)
    return load_function(file, "get_experiment", "get_config").__name__ == "get_experiment"


def _start_jax() -> None:
    """Starts JAX once the file and the overrides are known to be valid."""
    prepare_jax()
    require_devices()


def _tuning_lines(experiment: "Experiment | None", base: "Config") -> list[str]:
    """Lines on the cost of tuning beside the verdict's runs; empty where nothing is tuned."""
    if experiment is None or experiment.tune is None:
        return []
    from xception_jax.planning.tuning_cost import tuning_cost

    cost, tune = tuning_cost(experiment, base), experiment.tune
    assert cost is not None
    arms, points = len(experiment.arms), " x ".join(str(len(values)) for values in tune.values)
    declared, most, verdict = cost.declared, cost.most, cost.verdict
    least, highest = declared.macs / verdict.macs, most.macs / verdict.macs
    return [
        "",
        f"Tuning of {' and '.join(tune.settings)}: {arms} arms x {points} values x {tune.seeds}",
        f"  seeds = {_load_words(declared)};",
        f"  at most, if both edges are extended twice, {_load_words(most)}.",
        f"The verdict: {_load_words(verdict)}.",
        f"  Tuning takes {least:.3g} times as much, at most {highest:.3g} times.",
    ]


def _load_words(load: "Load") -> str:
    return f"{load.runs:,} runs, {load.steps:,} steps, {quantity(load.macs)} MACs of training"


def _power_lines(experiment: "Experiment | None", pilot: Path | None) -> list["Table | str"]:
    """A table of the effects that the claims can detect with the seeds; empty for a config.

    Raises:
        InputError: there is no sweep in `pilot`, or none with arms that the claims compare.
    """
    if experiment is None:
        if pilot is not None:
            raise InputError("--pilot", str(pilot), "goes with an experiment; this is a config")
        return []
    from xception_jax.report.reading import read_directory
    from xception_jax.statistics.detectable import detectable_effects

    sweep = read_directory(pilot) if pilot is not None else None
    claims, bases = experiment.described_claims(), experiment.arms_on
    looks = declared_looks(experiment)
    rows = detectable_effects(claims, experiment.arms, experiment.seeds, sweep, bases, looks=looks)
    if sweep is not None and claims and not any(r.pilot_pairs or r.alike_pairs for r in rows):
        raise InputError("--pilot", str(pilot), "has no two finished pairs that a claim compares")
    if not rows:
        return []
    cells = [(row.claim, row.endpoint, str(row.seeds), _detectable(row)) for row in rows]
    table = plain_table("claim", "endpoint", "seeds", "detectable", rows=cells)
    legend = _power_legend(rows, at_looks=looks is not None)
    return ["", table, *legend, *seed_lines(experiment)]


def _detectable(row: "Detectable") -> str:
    if row.effect is None or row.effect_if_correlated is None:
        return f"none: {row.seeds} seeds cannot give p < {row.alpha:.3g}"
    low, high = f"{row.effect_if_correlated:.3g}", f"{row.effect:.3g}"
    effect = high if low == high else f"{low} to {high}"
    pilot = f" (spread of {row.pilot_pairs} pairs)" * bool(row.pilot_pairs)
    pilot += f" ({row.alike_pairs} pairs are alike, and tell no spread)" * bool(row.alike_pairs)
    return f"{effect} {row.unit}{pilot}"


def _power_legend(rows: Sequence["Detectable"], *, at_looks: bool) -> list[str]:
    """What the column of detectable effects means, in lines of at most 80 characters."""
    from xception_jax.statistics.detectable import HIGHEST_CORRELATION

    error, alpha = max(row.power_error for row in rows), rows[0].alpha
    lines = [
        "Detectable: what 80 of 100 such sweeps would find, if every endpoint of the",
        "claim has an effect of so many standard deviations of its paired differences;",
        "for equivalent and not_worse, the margin that is shown if there is no effect.",
        f"Tests are at {alpha:.3g}, which Holm asks of the first claim. Simulated: the",
        f"standard error of the power is {error:.1%}.",
    ]
    if at_looks:
        lines.append("That is by the last look, with the test that holds for all looks.")
    if any(row.effect != row.effect_if_correlated for row in rows):
        span = f"endpoints correlated by {HIGHEST_CORRELATION:g} to uncorrelated ones"
        lines.append(f"A range: from {span}; a pilot tells it.")
    if any(row.is_on_a_base for row in rows):
        lines.append(
            "Of several bases, the effect on each by itself; a claim needs enough of them."
        )
    return lines


def _cost(config: "Config", named: list[str]) -> "Cost":
    from xception_jax.planning.budget import arm_cost

    return arm_cost(config, named)


def _references(experiment: "Experiment | None") -> dict[str, str]:
    """For each arm the one with which its cost is compared: the first, of the same base."""
    groups = () if experiment is None else experiment.compared_arms
    return {arm: arms[0] for arms in groups for arm in arms}


def _cost_table(costs: list[tuple[str, "Cost"]], references: dict[str, str]) -> Table:
    """A row per arm, with what it costs and how much that is above or below its reference."""
    names = ("width", "parameters", "MACs", "activations", "steps")
    numbers = [Column(name, justify="right", overflow="fold") for name in names]
    table = plain_table(Column("arm", overflow="fold"), *numbers)
    cost_of = dict(costs)
    for arm, cost in costs:
        reference = cost_of.get(references.get(arm, ""), costs[0][1])
        table.add_row(arm, *_cells(cost, reference))
    return table


def _cells(cost: "Cost", reference: "Cost") -> tuple[str, ...]:
    def against(value: int, other: int) -> str:
        return "" if cost is reference else f" ({value / other - 1:+.1%})"

    return (
        f"{cost.width:g}",
        f"{cost.parameters:,}{against(cost.parameters, reference.parameters)}",
        f"{quantity(cost.macs)}{against(cost.macs, reference.macs)}",
        f"{quantity(cost.activation_bytes)}B",
        f"{cost.steps:,}",
    )


def _module_table(cost: "Cost") -> Table:
    counts = [Column(name, justify="right") for name in ("parameters", "MACs")]
    table = plain_table("module", "kind", *counts, "output")
    for row in cost.rows:
        shape = " x ".join(map(str, row.output_shape))
        table.add_row(
            row.path or "whole", row.kind, f"{row.parameters:,}", quantity(row.macs), shape
        )
    return table
