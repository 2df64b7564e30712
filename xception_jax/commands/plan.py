"""`plan`: what an experiment or a config will cost, before any of it is spent."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from xception_jax.commands.console import console
from xception_jax.errors import InputError

if TYPE_CHECKING:
    from xception_jax.config import Config
    from xception_jax.planning.budget import Cost

_LEGEND = (
    "MACs: multiply-adds of one image, forward. Activations: kept for the backward",
    "pass by one image, before the compiler saves any. Nothing was compiled.",
)


def plan(
    file: Annotated[Path, typer.Argument(help="A file of experiments/ or configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value words that override the config.")
    ] = None,
    *,
    modules: Annotated[bool, typer.Option(help="A table of each arm's modules, too.")] = False,
    pilot: Annotated[
        Path | None,
        typer.Option(help="A sweep with the same arms: its spread tells what can be detected."),
    ] = None,
    topology: Annotated[
        str | None,
        typer.Option(help="TPU chips such as v5e:4x4, to compile every step for; none is needed."),
    ] = None,
    largest_batch: Annotated[
        bool,
        typer.Option("--largest-batch", help="With --topology, search for what fits; slower."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --topology, one JSON object instead.")
    ] = False,
) -> int:
    """Show what each arm of an experiment costs and what its claims can detect, in seconds.

    With --topology, its compiler says in minutes what every arm needs and takes on those chips.

    Example: `xception-jax plan experiments/nonlinearity.py --pilot results/nonlinearity`
    """
    if topology is not None:
        from xception_jax.commands.forecast import show_forecast

        seeds = _seeds(file)
        arms = [(arm, config) for arm, config, _ in _arms(file, overrides or [])]
        return show_forecast(arms, seeds, topology, search=largest_batch, as_json=as_json)
    if as_json:
        raise InputError("--json", None, "goes with --topology")
    power = _power_lines(file, pilot)
    table = Table(box=None, pad_edge=False)
    for heading in ("arm", "width", "parameters", "MACs", "activations", "steps"):
        justify: Literal["left", "right"] = "left" if heading == "arm" else "right"
        table.add_column(heading, justify=justify, overflow="fold")
    costs, notes, reference, refusal = [], [], None, None
    for arm, config, named in _arms(file, overrides or []):
        try:
            cost = _cost(config, named)
        except InputError as error:
            refusal = refusal or error
            notes.append(f"{arm} cannot be built: {error}")
            continue
        reference = reference or cost
        costs.append((arm, cost))
        table.add_row(arm, *_cells(cost, reference))
        notes += [f"{arm}: {name} changes nothing in this model" for name in cost.unused]
    if refusal and not costs:
        raise refusal
    console.print(table)
    for line in (*notes, *_LEGEND, *power):
        console.print(line)
    for arm, cost in costs if modules else ():
        console.print(f"\n{arm}")
        console.print(_module_table(cost))
    return 0


def _arms(file: Path, overrides: list[str]) -> Iterator[tuple[str, "Config", list[str]]]:
    """(name, config, names of the settings that make it what it is) of each arm."""
    from xception_jax.config import load_file, require_settings, resolve
    from xception_jax.sweep import Experiment, load_experiment

    content = load_file(file, "get_experiment", "get_config")
    if not isinstance(content, Experiment):
        yield file.stem, resolve(require_settings(file, content), overrides=overrides), []
        return
    from xception_jax.planning.budget import equalize

    experiment, base = load_experiment(file)
    experiment = equalize(experiment, base, overrides)
    for arm, settings in experiment.arms.items():
        yield arm, resolve(base, settings, overrides=overrides), list(settings)


def _seeds(file: Path) -> int:
    """How many runs an arm has; of a config there is one."""
    from xception_jax.config import load_file
    from xception_jax.sweep import Experiment

    content = load_file(file, "get_experiment", "get_config")
    return content.seeds if isinstance(content, Experiment) else 1


def _power_lines(file: Path, pilot: Path | None) -> list["Table | str"]:
    """What the claims of an experiment can find with its seeds; nothing for a config.

    Raises:
        InputError: there is no sweep in `pilot`, or none with arms that the claims compare.
    """
    from xception_jax.config import load_file
    from xception_jax.sweep import Experiment

    experiment = load_file(file, "get_experiment", "get_config")
    if not isinstance(experiment, Experiment):
        if pilot is not None:
            raise InputError("--pilot", str(pilot), "goes with an experiment; this is a config")
        return []
    from xception_jax.analysis.planning import detectable_effects
    from xception_jax.analysis.read import read_directory

    sweep = read_directory(pilot) if pilot is not None else None
    claims = [claim.describe() for claim in experiment.claims]
    rows = detectable_effects(claims, experiment.arms, experiment.seeds, sweep)
    if sweep is not None and claims and not any(row.pilot_pairs for row in rows):
        raise InputError("--pilot", str(pilot), "has no two finished pairs that a claim compares")
    table = Table("claim", "endpoint", "seeds", "detectable", box=None, pad_edge=False)
    for row in rows:
        found = f"none: {row.seeds} seeds cannot give p < 0.05, adjusted for the number of claims"
        if row.effect is not None:
            spread = f" (spread of {row.pilot_pairs} pairs)" * bool(row.pilot_pairs)
            found = f"{row.effect:.3g} {row.unit}{spread}"
        table.add_row(row.claim, row.endpoint, str(row.seeds), found)
    note = "Detectable: what 80 of 100 such sweeps would find, at 5% over all claims; for an"
    last = "equivalence, the margin. Standard deviations are of the paired differences."
    return ["", table, note, last] if rows else []


def _cost(config: "Config", named: list[str]) -> "Cost":
    from xception_jax.planning.budget import arm_cost

    return arm_cost(config, named)


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


def quantity(number: float) -> str:
    """`8_363_000_000` -> "8.36 G"."""
    for unit in ("", "k", "M", "G", "T"):
        if abs(number) < 1000 or unit == "T":
            break
        number /= 1000
    return f"{number:.3g} {unit}"


def _module_table(cost: "Cost") -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("module", "kind", "parameters", "MACs", "output"):
        table.add_column(heading, justify="right" if heading in ("parameters", "MACs") else "left")
    for row in cost.rows:
        shape = " x ".join(map(str, row.output_shape))
        table.add_row(
            row.path or "whole", row.kind, f"{row.parameters:,}", quantity(row.macs), shape
        )
    return table
