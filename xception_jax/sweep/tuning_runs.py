"""Tuning runs: an arm with values of the tuned settings and a seed that no verdict uses."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xception_jax.config import Config, read_json, resolve
from xception_jax.errors import InputError
from xception_jax.json_values import as_mapping, as_real, as_whole
from xception_jax.records import ENDED, METRICS, TUNING, TUNING_RUNS, stays_inside
from xception_jax.statistics.selection import Point
from xception_jax.sweep.experiment import Experiment, PlannedRun

Grid = tuple[Point, ...]
"""The increasing values of each tuned setting."""


@dataclass(frozen=True)
class TuningRun(PlannedRun):
    """A run that serves only to choose an arm's settings.

    Attributes:
        settings: what it sets beside its arm: the tuned settings, and its epochs if they differ.
        point: the values of the tuned settings.
        extension: how often the grid had been extended when the run was planned.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    point: Point = ()
    extension: int = 0

    @property
    def title(self) -> str:
        """The arm and the values that are tried: `relu (tuning, learning_rate=0.1)`."""
        names = list(self.settings)[: len(self.point)]
        pairs = zip(names, self.point, strict=True)
        return f"{self.arm} (tuning, {describe_point(dict(pairs))})"

    @property
    def name(self) -> str:
        """The name of the run, `<arm>-<values>-s<seed>`."""
        return "-".join([self.arm, *(f"{value:g}" for value in self.point), f"s{self.seed}"])

    @property
    def directory(self) -> str:
        """The run's directory, relative to the sweep's, apart from those of the verdict's runs."""
        return f"{TUNING_RUNS}/{self.name}-{self.id[:8]}"

    def row(self, record: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The run's row in `tuning.json`, with its outcome once it has ended."""
        has_ended = record is not None and record["status"] in ENDED
        return {
            "arm": self.arm,
            "seed": self.seed,
            "settings": dict(self.settings),
            "values": list(self.point),
            "extension": self.extension,
            "id": self.id,
            "directory": self.directory,
            "status": record["status"] if record else "planned",
            "metric": record.get("metric") if record else None,
            "score": score(record) if record and has_ended else None,
        }


def describe_point(values: Mapping[str, float]) -> str:
    """`learning_rate=0.1, weight_decay=0.0001`."""
    return ", ".join(f"{name.rpartition('.')[2]}={value:g}" for name, value in values.items())


def score(record: Mapping[str, Any]) -> float:
    """The value by which an ended tuning run is judged.

    It is the headline metric of the last validation; of a run that diverged what chance gives, 0 of
    a ranking.

    Raises:
        InputError: the record does not say it, or is of another split.
    """
    metric, result = record.get("metric") or METRICS[0], as_mapping(record.get("result"))
    if record["status"] == "diverged" and metric in METRICS[1:]:
        return 0.0
    if record["status"] == "diverged":
        classes = as_whole(record.get("classes"))
        value = 1 / classes if classes and classes > 0 else None
    elif result.get("split") != "valid":
        reason = f"was evaluated on {result.get('split')!r}; delete its directory"
        raise InputError("tuning run", record.get("name"), reason)
    else:
        value = as_real(result.get(metric)) if metric in METRICS else None
    if value is None:
        reason = f"does not say how well it did by {metric!r}; delete its directory"
        raise InputError("tuning run", record.get("name"), reason)
    return value


def tuning_runs(
    experiment: Experiment,
    base: Mapping[str, Any] | Config,
    arms: Sequence[str],
    grid: Grid | None = None,
    extension: int = 0,
) -> list[TuningRun]:
    """The runs that try every point of a grid, the same for all arms; all of a seed come first.

    Args:
        experiment: an experiment that tunes.
        base: the config from which the arms start.
        arms: names of the arms.
        grid: values of each setting; None: the declared ones.
        extension: how often the grid was extended.

    Raises:
        InputError: a value is not valid for an arm.
    """
    tune = experiment.tune
    assert tune is not None
    runs = []
    points = list(itertools.product(*(grid or tune.values)))
    for seed, arm, point in itertools.product(tune.seed_numbers, arms, points):
        settings = dict(zip(tune.settings, point, strict=True)) | tune.epoch_settings
        config = resolve(base, experiment.arms[arm], settings, {"seed": seed})
        runs.append(TuningRun(arm, seed, config, settings, point, extension))
    return runs


def _is_row(row: Any) -> bool:
    """Whether a row has its fields, and numbers for the tuned settings."""
    kinds = {"arm": str, "seed": int, "id": str, "directory": str, "settings": dict, "values": list}
    if not isinstance(row, dict) or not all(isinstance(row.get(n), kinds[n]) for n in kinds):
        return False
    return _are_numbers([*row["settings"].values(), *row["values"]])


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(as_real(value) is not None for value in values)


def is_tuning(record: Any) -> bool:
    """Whether the record of a tuning holds runs, a grid, and what was chosen for arms."""
    arms, grid, runs = (as_mapping(record).get(name) for name in ("arms", "grid", "runs"))
    if not (isinstance(arms, dict) and isinstance(grid, list) and isinstance(runs, list)):
        return False
    chosen = [as_mapping(entry).get("chosen") for entry in arms.values()]
    return (
        all(isinstance(values, dict) and _are_numbers([*values.values()]) for values in chosen)
        and all(map(_are_numbers, grid))
        and all(isinstance(run, dict) for run in runs)
    )


def read_tuning_rows(directory: Path, *, all_inside: bool = True) -> list[dict[str, Any]]:
    """The rows of the tuning runs in `tuning.json`; empty without the file.

    Args:
        directory: directory of the sweep.
        all_inside: whether a run outside of the sweep is refused.

    Raises:
        InputError: the file is damaged.
    """
    path = directory / TUNING
    if not path.exists():
        return []
    try:
        rows = read_json(path).get("runs")
    except InputError as error:
        reason = f"{error.reason}; `sweep` with the same words writes it again"
        raise InputError(error.field, error.value, reason) from error
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise InputError("file", str(path), "is not the record of a tuning")
    for row in rows:
        if all_inside and not stays_inside(row["directory"]):
            raise InputError("directory", row["directory"], f"is outside of the sweep, {path}")
    return rows
