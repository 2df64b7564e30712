"""The compute that a sweep took, in words beside each verdict and as a table; notes on speed."""

from xception_jax.report.summary import Summary
from xception_jax.report.tables import Table
from xception_jax.statistics.compute import PARTS
from xception_jax.statistics.json_types import Part, SpentCompute
from xception_jax.statistics.speed import sharing_arms

_NAMES: dict[Part, str] = {
    "judged": "runs that a verdict rests on",
    "thrown_away": "thrown away: failed, superseded or trained again",
    "tuning": "tuning",
    "not_judged": "ended, and used by no verdict",
    "unfinished": "not ended",
}
# The smallest amount, in seconds, that is told in a unit.
_UNITS = ((2 * 3600.0, 3600.0, "device-hours"), (600.0, 60.0, "device-minutes"))


def describe_compute(compute: SpentCompute) -> str:
    """`compute: 1.2 device-hours judged, 0.1 thrown away, 0 tuning (cpu)`; empty: not known.

    Args:
        compute: of a claim or of all runs.
    """
    devices, total = ", ".join(compute["devices"]), _total(compute)
    if not total:
        return ""
    size, name = _unit(total)
    shown = [part for part in PARTS if part in PARTS[:3] or compute[part]]
    amounts = [f"{_amount(compute[part] / size)} {part.replace('_', ' ')}" for part in shown]
    amounts[0] = amounts[0].replace(" ", f" {name} ", 1)
    least = "at least " if compute["at_least"] else ""
    return f"compute: {least}{', '.join(amounts)}" + (f" ({devices})" if devices else "")


def compute_table(compute: SpentCompute) -> Table:
    """One row per part of the compute of a sweep, and one of all."""
    counts, total = compute["runs"], _total(compute)
    size, name = _unit(total)
    rows = [(_NAMES[part], str(counts[part]), _amount(compute[part] / size)) for part in PARTS]
    rows.append(("all", str(sum(counts.values())), _amount(total / size)))
    return Table(("compute", "runs", name), (False, True, True), tuple(rows))


def compute_notes(compute: SpentCompute) -> list[str]:
    """Sentences that a reader of the table must know."""
    devices = compute["devices"]
    notes = [
        "A run’s share of the time of the devices that trained it, compilation and evaluation "
        f"included, on {', '.join(devices) or 'devices that are not recorded'}. Runs of a pack "
        "share its devices. Not counted: start-up, trials of pack sizes, reports, and what was "
        "spent in other directories."
    ]
    if len(devices) > 1:
        notes.append("The kinds of devices differ, and a second of one is not one of another.")
    if estimated := compute["estimated"]:
        notes.append(
            f"Of {_runs(estimated)} only start and end are recorded: the time is taken from these."
        )
    if least := compute["at_least"]:
        notes.append(f"Of {_runs(least)} not all is recorded: the sums are lower bounds.")
    return notes


def speed_notes(summary: Summary) -> list[str]:
    """Sentences on the column of speeds, in which a pack is one measurement."""
    done = [outcome.run for outcome in summary.runs if outcome.run.status == "done"]
    notes = ["Images/s is what each run measured as it trained"]
    if any(run.pack for run in done):
        notes[0] += (
            ", in a pack its share of the pack’s rate. A pack is one program and one measurement, "
            "however many runs it holds: ± is over packs, and one pack has none"
        )
    notes[0] += "; what else the machine did is not known."
    if sharing := sharing_arms(done):
        names = f"{', '.join(sharing[:-1])} and {sharing[-1]}"
        notes.append(
            f"{names} trained in packs with each other, at the speed of the pack: these numbers "
            "say little of a difference between the arms."
        )
    return notes


def _total(compute: SpentCompute) -> float:
    return sum(compute[part] for part in PARTS)


def _unit(seconds: float) -> tuple[float, str]:
    fitting = ((size, name) for least, size, name in _UNITS if seconds >= least)
    return next(fitting, (1.0, "device-seconds"))


def _amount(value: float) -> str:
    return f"{value:,.1f}" if 0 < value < 100 else f"{value:,.0f}"


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
